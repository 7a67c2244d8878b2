import { useEffect, useLayoutEffect, useRef, type KeyboardEvent, type MouseEvent } from 'react'
import { Checkbox } from '@mantine/core'
import { useRouter } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { graphql, usePaginationFragment } from 'react-relay/hooks'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'
import type { runsTable_query$key } from '../__generated__/runsTable_query.graphql'
import { NoRuns } from './no-runs'
import { leaveAt, type Place } from './place'
import { RunRow } from './run-row'
import type { LiveRuns } from './use-live-runs'
import type { Selection } from './use-selection'

/** Runs of one request. More are requested while the list is scrolled. */
export const PAGE_SIZE = 60
const ROW_HEIGHT = 42
/** More rows than this are let go when the list is looked at from its start. */
const MOST_ROWS = 5_000

const FRAGMENT = graphql`
  fragment runsTable_query on Query
  @refetchable(queryName: "runsTablePageQuery")
  @argumentDefinitions(cursor: { type: "String" }) {
    flowRuns(filter: $filter, orderBy: $orderBy, first: $count, after: $cursor)
      @connection(key: "runsTable_flowRuns", filters: ["filter", "orderBy"]) {
      edges {
        node {
          id
          createdAt
          updatedAt
          ...runRow_run
        }
      }
    }
  }
`

type Props = {
  query: runsTable_query$key
  live: LiveRuns
  selection: Selection
  total: number | null
  /** Where the list was left, if the viewer comes back to it. */
  place: Place | undefined
}

export function RunsTable({ query, live, selection, total, place }: Props) {
  const { data, loadNext, hasNext, isLoadingNext } = usePaginationFragment<runsPageQuery, runsTable_query$key>(
    FRAGMENT,
    query,
  )
  const runs = data.flowRuns.edges
  const scroller = useRef<HTMLDivElement>(null)
  const rows = useVirtualizer({
    count: runs.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    getItemKey: (index) => runs[index]!.node.id,
    overscan: 12,
  })
  const items = rows.getVirtualItems()
  const last = items.at(-1)?.index ?? 0

  const { onRead } = live
  useEffect(() => onRead(), [onRead])
  useEffect(() => {
    if (hasNext && !isLoadingNext && last >= runs.length - PAGE_SIZE / 2) loadNext(PAGE_SIZE)
  }, [hasNext, isLoadingNext, last, runs.length, loadNext])
  useEffect(() => {
    if (runs.length > MOST_ROWS && last < PAGE_SIZE) live.readAgain()
  }, [runs.length, last, live])
  useSteadyScroll(scroller, rows.scrollOffset ?? 0, runs[0]?.node.id, (id) => runs.findIndex(({ node }) => node.id === id))

  const back = useRef(place)
  useLayoutEffect(() => {
    const index = runs.findIndex(({ node }) => node.id === back.current?.firstId)
    if (index >= 0) {
      scroller.current!.scrollTop = index * ROW_HEIGHT + back.current!.above
      focusLater(scroller, index + back.current!.opened)
    }
    back.current = undefined
  }, [runs])
  const { history } = useRouter()
  const leave = ({ target }: MouseEvent) => {
    if (!(target as HTMLElement).closest('a')) return
    const offset = rows.scrollOffset ?? 0
    const first = Math.floor(offset / ROW_HEIGHT)
    const opened = (target as HTMLElement).closest<HTMLElement>('[data-index]')
    if (!runs[first] || !opened) return
    const left = { count: runs.length, firstId: runs[first].node.id, above: offset % ROW_HEIGHT }
    leaveAt(history.location.state.__TSR_key, { ...left, opened: Number(opened.dataset.index) - first })
  }

  const move = (event: KeyboardEvent) => {
    const by = event.key === 'ArrowDown' || event.key === 'j' ? 1 : event.key === 'ArrowUp' || event.key === 'k' ? -1 : 0
    const row = (event.target as HTMLElement).closest<HTMLElement>('[data-index]')
    if (!by || !row) return
    event.preventDefault()
    const index = Math.max(0, Math.min(runs.length - 1, Number(row.dataset.index) + by))
    rows.scrollToIndex(index)
    focusLater(scroller, index)
  }

  if (!runs.length) return <NoRuns />
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the keys of the rows' links
    <div
      className="runs-table"
      role="table"
      aria-label="Runs"
      aria-rowcount={total === null ? -1 : total + 1}
      onKeyDown={move}
      onClickCapture={leave}
    >
      <Heads selection={selection} />
      <div className="runs-rows" ref={scroller} role="rowgroup" tabIndex={-1}>
        <div role="presentation" style={{ height: rows.getTotalSize(), position: 'relative' }}>
          {items.map(({ key, index, start }) => (
            <RunRow
              key={key}
              id={runs[index]!.node.id}
              run={runs[index]!.node}
              index={index}
              top={start}
              leaving={live.leaving.get(runs[index]!.node.id)}
              isSelected={selection.has(runs[index]!.node.id)}
              onSelect={selection.toggle}
            />
          ))}
        </div>
      </div>
    </div>
  )
}

function Heads({ selection }: { selection: Selection }) {
  const { isAll, ids, selectAll, clear } = selection
  return (
    <div className="runs-row runs-heads" role="row">
      <span role="columnheader">
        <Checkbox
          aria-label="Select all matching runs"
          checked={isAll && !ids.size}
          indeterminate={ids.size > 0}
          onChange={(event) => (event.currentTarget.checked ? selectAll() : clear())}
        />
      </span>
      <span role="columnheader">Status</span>
      <span role="columnheader">Flow</span>
      <span role="columnheader" className="wide-only">
        Details
      </span>
      <span role="columnheader" className="wide-only">
        Trigger
      </span>
      <span role="columnheader" className="number">
        Duration
      </span>
      <span role="columnheader" className="number">
        Created
      </span>
    </div>
  )
}

/** Focuses the link of a row, once the row is drawn. */
function focusLater(scroller: React.RefObject<HTMLDivElement | null>, index: number) {
  requestAnimationFrame(() =>
    scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"] a`)?.focus({ preventScroll: true }),
  )
}

/** Keeps the rows that are looked at in their place when new ones come in above them. */
function useSteadyScroll(
  scroller: React.RefObject<HTMLDivElement | null>,
  /** Where the table is scrolled to. To ask its element would have the page laid out once more for each change. */
  offset: number,
  firstId: string | undefined,
  indexOf: (id: string) => number,
) {
  const previous = useRef(firstId)
  useLayoutEffect(() => {
    const element = scroller.current
    const before = previous.current
    previous.current = firstId
    if (!element || !before || before === firstId || offset === 0) return
    const inserted = indexOf(before)
    if (inserted > 0) element.scrollTop += inserted * ROW_HEIGHT
  })
}
