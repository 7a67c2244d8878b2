import { useEffect, useMemo, useRef, useState } from 'react'
import { fetchQuery, graphql, useRelayEnvironment, useSubscription, type GraphQLTaggedNode } from 'react-relay/hooks'
import type { runPageQuery } from '../__generated__/runPageQuery.graphql'
import type { useLiveRunSubscription } from '../__generated__/useLiveRunSubscription.graphql'
import { LOST } from '../shared/environment'

/** The page reads the run again after changes, but not more often than this. */
const READ_MS = 200

const SUBSCRIPTION = graphql`
  subscription useLiveRunSubscription($runId: ID!, $after: String) {
    flowRunProgressed(runId: $runId, after: $after) {
      __typename
      ... on FlowRunStatusChanged {
        cursor
      }
      ... on StepChanged {
        cursor
      }
      ... on LogLinesAppended {
        cursor
        lines {
          number
          at
          level
          stepName
          message
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`

export type LogLine = {
  readonly number: number
  readonly at: string
  readonly level: 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR'
  readonly stepName: string | null | undefined
  readonly message: string
}

/** Keeps a run as the service has it, and returns the lines that its log got since the page was opened. */
export function useLiveRun(query: GraphQLTaggedNode, runId: string): LogLine[] {
  const environment = useRelayEnvironment()
  const [lines, setLines] = useState<LogLine[]>([])
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined)

  const read = useMemo(() => {
    const request = () => {
      timer.current = undefined
      fetchQuery<runPageQuery>(environment, query, { id: runId }).subscribe({ error: () => {} })
    }
    return () => {
      timer.current ??= setTimeout(request, READ_MS)
    }
  }, [environment, query, runId])
  useEffect(() => {
    setLines([])
    addEventListener(LOST, read)
    return () => {
      removeEventListener(LOST, read)
      clearTimeout(timer.current)
      timer.current = undefined
    }
  }, [read])

  useSubscription<useLiveRunSubscription>(
    useMemo(
      () => ({
        subscription: SUBSCRIPTION,
        variables: { runId },
        updater: (_, data) => {
          const event = data?.flowRunProgressed
          if (event?.__typename === 'LogLinesAppended') {
            const added = [...event.lines]
            queueMicrotask(() => setLines((old) => [...old, ...added]))
          } else if (event) read()
        },
        onError: () => {},
      }),
      [runId, read],
    ),
  )
  return lines
}
