import { lazy, Suspense, useEffect, useState } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { failuresTableQuery } from '../__generated__/failuresTableQuery.graphql'
import { isFiltered, type RunsFilter } from '../shared/filter'
import { MUTATED } from '../shared/mutate'
import { readAgain } from '../shared/read-again'
import { FailureRow } from './failure-row'

const BulkDialog = lazy(() => import('../bulk/bulk-dialog'))

/** Failures are grouped by reading failed runs, so they are read from time to time. */
const READ_EVERY_MS = 30_000

export const FAILURES = graphql`
  query failuresTableQuery(
    $filter: FlowRunFilter
    $first: Int!
    $size: TimeBucketSize!
    $from: DateTime
    $to: DateTime
    $timeZone: String!
  ) {
    flowRunStats(filter: $filter) {
      at
      failures(first: $first) {
        fingerprint
        ...failureRow_failure
      }
    }
  }
`

type Variables = failuresTableQuery['variables'] & { filter: RunsFilter }

/** The errors, the most frequent first. */
export function FailuresTable({ variables, attempt }: { variables: Variables; attempt: number }) {
  const [retried, setRetried] = useState<RunsFilter | null>(null)
  const options = { fetchPolicy: 'store-and-network', fetchKey: attempt } as const
  const data = useLazyLoadQuery<failuresTableQuery>(FAILURES, variables, options)
  useReadFromTimeToTime(variables)
  const { failures, at } = data.flowRunStats
  if (!failures.length) return <NoFailures filter={variables.filter} />
  return (
    <>
      <header>
        <h2>{countText(failures.length, variables.first)}</h2>
      </header>
      <div className="scroll-x">
        <table className="plain failures" aria-label="Failures">
          <thead>
            <tr>
              <th scope="col" className="number">
                Runs
              </th>
              <th scope="col">Error</th>
              <th scope="col">Flows</th>
              <th scope="col">Trend</th>
              <th scope="col">First seen</th>
              <th scope="col">Last seen</th>
              <th scope="col">What next</th>
            </tr>
          </thead>
          <tbody>
            {failures.map((failure) => (
              <FailureRow
                key={failure.fingerprint}
                failure={failure}
                filter={variables.filter}
                at={at}
                onRetry={setRetried}
              />
            ))}
          </tbody>
        </table>
      </div>
      {retried && (
        <Suspense>
          <BulkDialog
            kind="RETRY"
            filter={retried}
            excludeIds={[]}
            onClose={() => setRetried(null)}
            onDone={() => setRetried(null)}
          />
        </Suspense>
      )}
    </>
  )
}

function countText(count: number, most: number): string {
  if (count === most) return `The ${most} most frequent errors, by fingerprint`
  return `${count} ${count === 1 ? 'error' : 'errors'}, by fingerprint`
}

function NoFailures({ filter }: { filter: RunsFilter }) {
  return (
    <div className="empty">
      <strong>No run failed{isFiltered(filter) && ' that matches these filters'}</strong>
      <span>
        {isFiltered(filter) ? 'Choose a longer time, or take filters off.' : 'Errors appear here once runs fail.'}
      </span>
      <Link to="/">All runs</Link>
    </div>
  )
}

/** Reads the failures again after a mutation, and while the page is looked at. */
function useReadFromTimeToTime(variables: Variables) {
  const environment = useRelayEnvironment()
  useEffect(() => {
    const read = () => {
      if (document.visibilityState === 'visible')
        readAgain<failuresTableQuery>(environment, FAILURES, variables).subscribe({ error: () => {} })
    }
    const timer = setInterval(read, READ_EVERY_MS)
    addEventListener(MUTATED, read)
    return () => {
      clearInterval(timer)
      removeEventListener(MUTATED, read)
    }
  }, [environment, variables])
}
