import { useEffect, useMemo, useState } from 'react'
import { graphql, useRelayEnvironment, useSubscription } from 'react-relay/hooks'
import { fetchQuery } from 'relay-runtime'
import type { pendingCountQuery } from '../__generated__/pendingCountQuery.graphql'
import type { pendingCountSubscription } from '../__generated__/pendingCountSubscription.graphql'
import { LOST } from '../shared/environment'
import { createReader } from '../shared/reader'

const QUERY = graphql`
  query pendingCountQuery {
    inputRequests(filter: { statuses: [PENDING] }, first: 0) {
      totalCount(limit: 1000)
    }
  }
`

const SUBSCRIPTION = graphql`
  subscription pendingCountSubscription($after: String) {
    inputRequestsChanged(filter: { statuses: [PENDING] }, after: $after) {
      ... on InputRequestChanged {
        cursor
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`

const COUNTED = 1_000

/** The number of questions that wait for an answer, live. Shows nothing if there are none. */
export function PendingCount() {
  const environment = useRelayEnvironment()
  const [count, setCount] = useState(0)
  const reader = useMemo(
    () =>
      createReader((ended) => {
        const options = { fetchPolicy: 'network-only' } as const
        const reading = fetchQuery<pendingCountQuery>(environment, QUERY, {}, options).subscribe({
          next: ({ inputRequests }) => setCount(inputRequests.totalCount),
          complete: ended,
          error: ended,
        })
        return () => reading.unsubscribe()
      }),
    [environment],
  )
  useEffect(() => {
    addEventListener(LOST, reader.read)
    return () => {
      removeEventListener(LOST, reader.read)
      reader.stop()
    }
  }, [reader])
  useSubscription<pendingCountSubscription>(
    useMemo(
      () => ({ subscription: SUBSCRIPTION, variables: {}, updater: () => reader.read(), onError: () => {} }),
      [reader],
    ),
  )
  if (!count) return null
  return (
    <span className="count">
      {count < COUNTED ? count.toLocaleString() : `${COUNTED.toLocaleString()}+`}
      <span className="sr-only"> pending</span>
    </span>
  )
}
