import { useEffect, useMemo } from 'react'
import { useRelayEnvironment, type GraphQLTaggedNode } from 'react-relay/hooks'
import type { OperationType } from 'relay-runtime'
import { LOST } from './environment'
import { MUTATED } from './mutate'
import { readAgain } from './read-again'
import { createReader } from './reader'

/**
 * Reads a query again after mutations, after events were lost, and every `everyMs` if that is given, while the page can
 * be seen: for what has no subscription. Returns a function that reads it soon. `variables` must not change from render to render.
 */
export function useFresh<Query extends OperationType>(
  query: GraphQLTaggedNode,
  variables: Query['variables'],
  everyMs?: number,
): () => void {
  const environment = useRelayEnvironment()
  const reader = useMemo(
    () =>
      createReader((ended) => {
        const reading = readAgain<Query>(environment, query, variables).subscribe({ complete: ended, error: ended })
        return () => reading.unsubscribe()
      }),
    [environment, query, variables],
  )
  useEffect(() => {
    for (const event of [LOST, MUTATED]) addEventListener(event, reader.read)
    const tick = () => document.visibilityState === 'visible' && reader.read()
    const timer = everyMs === undefined ? undefined : setInterval(tick, everyMs)
    return () => {
      for (const event of [LOST, MUTATED]) removeEventListener(event, reader.read)
      clearInterval(timer)
      reader.stop()
    }
  }, [reader, everyMs])
  return reader.read
}
