import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from 'react'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { failuresPageQuery } from '../__generated__/failuresPageQuery.graphql'
import { FilterBar } from '../filters/filter-bar'
import { bucketSizeFor, rangeOf } from '../filters/time-range'
import { filterOf, isFiltered, type RunsFilter, type RunsSearch } from '../shared/filter'
import { MUTATED } from '../shared/mutate'
import { OpenAsQuery } from '../shared/open-as-query'
import { readAgain } from '../shared/read-again'
import { TIME_ZONE } from '../shared/time'
import { FailureRow } from './failure-row'
import './failures.css'

const BulkDialog = lazy(() => import('../bulk/bulk-dialog'))

/** Errors of one request: more are found by a narrower filter. */
const MOST = 50
/** Failures are grouped by reading failed runs, so they are read from time to time. */
const READ_EVERY_MS = 30_000

const QUERY = graphql`
  query failuresPageQuery(
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

/** Failures by the fingerprint of their error, the most frequent first. */
export function FailuresPage() {
  const search = useSearch({ from: '/failures' })
  const navigate = useNavigate({ from: '/failures' })
  const [retried, setRetried] = useState<RunsFilter | null>(null)
  const address = JSON.stringify(filterOf(search))
  const variables = useMemo(() => {
    const filter = JSON.parse(address) as RunsFilter
    const range = rangeOf(filter)
    const size = range.from ? bucketSizeFor(range) : ('DAY' as const)
    return { filter, first: MOST, size, ...range, timeZone: TIME_ZONE }
  }, [address])
  const { flowRunStats } = useLazyLoadQuery<failuresPageQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useReadFromTimeToTime(variables)
  const change = useCallback(
    (changes: RunsSearch) => void navigate({ search: (old: RunsSearch) => ({ ...old, ...changes }) }),
    [navigate],
  )
  const { failures, at } = flowRunStats
  return (
    <main className="page">
      <div className="line">
        <h1>Failures</h1>
        <span className="dim">
          {failures.length < MOST ? failures.length : `The ${MOST} most frequent errors`}
          {failures.length < MOST && (failures.length === 1 ? ' error' : ' errors')}, by fingerprint
        </span>
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
      <FilterBar search={search} onChange={change} onClear={() => void navigate({ search: {} })} />
      <section className="panel scroll-x" aria-label="Failures">
        {failures.length ? (
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
        ) : (
          <NoFailures search={search} />
        )}
      </section>
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
    </main>
  )
}

function NoFailures({ search }: { search: RunsSearch }) {
  return (
    <div className="empty">
      <strong>No run failed{isFiltered(search) && ' that matches these filters'}</strong>
      <span>
        {isFiltered(search) ? 'Choose a longer time, or take filters off.' : 'Errors appear here once runs fail.'}
      </span>
      <Link to="/">All runs</Link>
    </div>
  )
}

/** Reads the failures again after a mutation, and while the page is looked at. */
function useReadFromTimeToTime(variables: failuresPageQuery['variables']) {
  const environment = useRelayEnvironment()
  useEffect(() => {
    const read = () => {
      if (document.visibilityState === 'visible')
        readAgain<failuresPageQuery>(environment, QUERY, variables).subscribe({ error: () => {} })
    }
    const timer = setInterval(read, READ_EVERY_MS)
    addEventListener(MUTATED, read)
    return () => {
      clearInterval(timer)
      removeEventListener(MUTATED, read)
    }
  }, [environment, variables])
}
