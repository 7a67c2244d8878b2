import { useCallback, useMemo } from 'react'
import { Skeleton } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { FilterBar } from '../filters/filter-bar'
import { bucketSizeFor, rangeOf } from '../filters/time-range'
import { filterOf, type RunsFilter, type RunsSearch } from '../shared/filter'
import { OpenAsQuery } from '../shared/open-as-query'
import { Part } from '../shared/part'
import { TIME_ZONE } from '../shared/time'
import { useTitle } from '../shared/title'
import { FAILURES, FailuresTable } from './failures-table'
import './failures.css'

/** Errors of one request: more are found by a narrower filter. */
const MOST = 50

/** Failures by the fingerprint of their error, of the runs of a filter that the address holds. */
export function FailuresPage() {
  useTitle('Failures')
  const search = useSearch({ from: '/failures' })
  const navigate = useNavigate({ from: '/failures' })
  const address = JSON.stringify(filterOf(search))
  const variables = useMemo(() => {
    const filter = JSON.parse(address) as RunsFilter
    const range = rangeOf(filter)
    const size = range.from ? bucketSizeFor(range) : ('DAY' as const)
    return { filter, first: MOST, size, ...range, timeZone: TIME_ZONE }
  }, [address])
  const change = useCallback(
    (changes: RunsSearch) => void navigate({ search: (old: RunsSearch) => ({ ...old, ...changes }) }),
    [navigate],
  )
  return (
    <main className="page">
      <div className="line">
        <h1>Failures</h1>
        <span className="grow" />
        <OpenAsQuery document={FAILURES} variables={variables} />
      </div>
      <FilterBar search={search} onChange={change} onClear={() => void navigate({ search: {} })} />
      <section className="panel" aria-label="Failures">
        <Part address={address} fallback={<Skeleton height={240} aria-busy aria-label="Loading" />}>
          {(attempt) => <FailuresTable variables={variables} attempt={attempt} />}
        </Part>
      </section>
    </main>
  )
}
