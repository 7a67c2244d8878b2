import { lazy, Suspense, useCallback, useMemo, useState } from 'react'
import { Skeleton } from '@mantine/core'
import { useLocation, useNavigate, useRouter, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'
import { FilterBar } from '../filters/filter-bar'
import { filterOf, type RunsSearch } from '../shared/filter'
import { OpenAsQuery } from '../shared/open-as-query'
import { orderOf } from '../shared/order'
import { Part } from '../shared/part'
import { useTitle } from '../shared/title'
import { OrderSelect } from './order-select'
import { placeOf, type Place } from './place'
import { PAGE_SIZE, RunsTable } from './runs-table'
import { SelectionBar } from './selection-bar'
import { Stats } from './stats'
import { useLiveRuns, type LiveRuns } from './use-live-runs'
import { useSelection, type Selection } from './use-selection'
import './runs.css'

const SavedViews = lazy(() => import('../views/saved-views'))
const SHOWN_ELSEWHERE = ['statuses'] as const

const QUERY = graphql`
  query runsPageQuery($filter: FlowRunFilter, $orderBy: FlowRunOrder, $count: Int!) {
    ...runsTable_query
  }
`

/** The list of runs: the whole filter is in the address, and what it shows changes as runs do. */
export function RunsPage() {
  useTitle('Runs')
  const search = useSearch({ from: '/' })
  const navigate = useNavigate({ from: '/' })
  const notice = useLocation({ select: ({ state }) => state.notice })
  // A view is a name for the filter: it changes nothing in the list.
  const address = JSON.stringify({ ...search, view: undefined })
  const change = useCallback(
    (changes: RunsSearch) => void navigate({ search: (old: RunsSearch) => ({ ...old, ...changes }) }),
    [navigate],
  )
  const { history } = useRouter()
  const [back] = useState(() => ({ address, place: placeOf(history.location.state.__TSR_key) }))
  const place = back.address === address ? back.place : undefined
  const count = Math.max(PAGE_SIZE, place?.count ?? 0)
  const variables = useMemo(() => {
    const held = JSON.parse(address) as RunsSearch
    return { filter: filterOf(held), orderBy: orderOf(held.orderBy), count }
  }, [address, count])
  const live = useLiveRuns(QUERY, variables)
  const selection = useSelection(address)
  const [total, setTotal] = useState<number | null>(null)

  return (
    <main className="page runs-page">
      <h1 className="sr-only">Runs</h1>
      {notice && (
        <p role="status" className="note">
          {notice}
        </p>
      )}
      <div className="stack runs-finding">
        <div className="views-place">
          <Suspense>
            <SavedViews search={search} />
          </Suspense>
        </div>
        <FilterBar
          search={search}
          onChange={change}
          onClear={() => void navigate({ search: {} })}
          shownElsewhere={SHOWN_ELSEWHERE}
        />
      </div>
      <Stats filter={variables.filter} onChange={change} onTotal={setTotal} />
      <section className="panel runs-panel" aria-label="Runs">
        <header>
          <Total total={total} />
          <SelectionBar selection={selection} filter={variables.filter} total={total} />
          <span className="grow" />
          <OrderSelect order={search.orderBy} onChange={(orderBy) => change({ orderBy })} />
          <OpenAsQuery document={QUERY} variables={variables} />
        </header>
        {live.isReady ? (
          <Part address={address} fallback={<RowsSkeleton />}>
            {(attempt) => (
              <Rows
                key={address}
                variables={variables}
                attempt={attempt}
                live={live}
                selection={selection}
                total={total}
                place={place}
              />
            )}
          </Part>
        ) : (
          <RowsSkeleton />
        )}
      </section>
    </main>
  )
}

type RowsProps = {
  variables: runsPageQuery['variables']
  attempt: number
  live: LiveRuns
  selection: Selection
  total: number | null
  place: Place | undefined
}

function Rows({ variables, attempt, live, selection, total, place }: RowsProps) {
  const options = { fetchPolicy: 'network-only', fetchKey: attempt } as const
  const data = useLazyLoadQuery<runsPageQuery>(QUERY, variables, options)
  return <RunsTable query={data} live={live} selection={selection} total={total} place={place} />
}

function Total({ total }: { total: number | null }) {
  return (
    <h2 className="nowrap" aria-live="off">
      {total === null ? 'Runs' : `${total.toLocaleString()} ${total === 1 ? 'run' : 'runs'}`}
    </h2>
  )
}

function RowsSkeleton() {
  return (
    <div className="runs-rows" aria-busy="true" aria-label="Loading runs">
      {Array.from({ length: 12 }, (_, row) => (
        <Skeleton key={row} height={16} my={12} mx={12} width="auto" />
      ))}
    </div>
  )
}
