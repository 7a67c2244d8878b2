import { useEffect, useMemo, useState } from 'react'
import { graphql, useRelayEnvironment, useSubscription, type GraphQLTaggedNode } from 'react-relay/hooks'
import type { runPageQuery } from '../__generated__/runPageQuery.graphql'
import type { useLiveRunChangesSubscription } from '../__generated__/useLiveRunChangesSubscription.graphql'
import type { useLiveRunSubscription } from '../__generated__/useLiveRunSubscription.graphql'
import { LOST } from '../shared/environment'
import { MUTATED } from '../shared/mutate'
import { readAgain } from '../shared/read-again'
import { createReader } from '../shared/reader'
import { useViewer } from '../shared/viewer'

const SUBSCRIPTION = graphql`
  subscription useLiveRunSubscription($runId: ID!, $after: String, $payloads: Boolean!) {
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
        lines @include(if: $payloads) {
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

/** What people and retries change, also after the run has ended. */
const CHANGES = graphql`
  subscription useLiveRunChangesSubscription($runId: ID!, $after: String) {
    flowRunStatusChanged(filter: { ids: [$runId] }, after: $after) {
      __typename
      ... on FlowRunStatusChanged {
        cursor
      }
      ... on FlowRunUpdated {
        cursor
      }
      ... on FlowRunDeleted {
        cursor
        runId
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
  const { payloads } = useViewer()
  const [lines, setLines] = useState<LogLine[]>([])

  const reader = useMemo(
    () =>
      createReader((ended) => {
        const variables = { id: runId }
        const reading = readAgain<runPageQuery>(environment, query, variables).subscribe({ complete: ended, error: ended })
        return () => reading.unsubscribe()
      }),
    [environment, query, runId],
  )
  useEffect(() => {
    setLines([])
    // What the page shows at first may be from an earlier visit.
    reader.read()
    for (const event of [LOST, MUTATED]) addEventListener(event, reader.read)
    return () => {
      for (const event of [LOST, MUTATED]) removeEventListener(event, reader.read)
      reader.stop()
    }
  }, [reader])

  useSubscription<useLiveRunSubscription>(
    useMemo(
      () => ({
        subscription: SUBSCRIPTION,
        variables: { runId, payloads },
        updater: (_, data) => {
          const event = data?.flowRunProgressed
          if (event?.__typename === 'LogLinesAppended') {
            const added = event.lines ?? []
            queueMicrotask(() => setLines((old) => [...old, ...added]))
          } else if (event) reader.read()
        },
        onError: () => {},
      }),
      [runId, payloads, reader],
    ),
  )
  useSubscription<useLiveRunChangesSubscription>(
    useMemo(
      () => ({
        subscription: CHANGES,
        variables: { runId },
        updater: (_, data) => {
          const event = data?.flowRunStatusChanged
          // Changes of the status are above, and the deletion of any run is reported, whatever the filter.
          const isOther = event?.__typename === 'FlowRunDeleted' && event.runId !== runId
          if (event && event.__typename !== 'FlowRunStatusChanged' && !isOther) reader.read()
        },
        onError: () => {},
      }),
      [runId, reader],
    ),
  )
  return lines
}
