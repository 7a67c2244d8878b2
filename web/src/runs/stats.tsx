import { lazy, Suspense, useEffect, useMemo, useState } from 'react'
import { Button, SegmentedControl } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, useSubscription } from 'react-relay/hooks'
import type { statsSubscription } from '../__generated__/statsSubscription.graphql'
import { bucketSizeFor, movedRange, rangeOf } from '../filters/time-range'
import type { RunsFilter, RunsSearch } from '../shared/filter'
import { OpenAsQuery } from '../shared/open-as-query'
import { STATUSES, statusColour, words, type FlowRunStatus } from '../shared/status'
import { duration, TIME_ZONE } from '../shared/time'

const Histogram = lazy(() => import('./histogram'))

const SUBSCRIPTION = graphql`
  subscription statsSubscription(
    $filter: FlowRunFilter
    $size: TimeBucketSize!
    $from: DateTime
    $to: DateTime
    $timeZone: String!
  ) {
    flowRunStatsChanged(filter: $filter) {
      byStatus {
        status
        count
      }
      durations {
        p50Ms
        p95Ms
      }
      timeBuckets(size: $size, from: $from, to: $to, timeZone: $timeZone) {
        start
        end
        byStatus {
          status
          count
        }
      }
    }
  }
`

type FlowRunStats = statsSubscription['response']['flowRunStatsChanged']
type Size = 'MINUTE' | 'HOUR' | 'DAY'
type Props = {
  filter: RunsFilter
  onChange: (changes: RunsSearch) => void
  onTotal: (total: number | null) => void
}

/** How many runs have each status, and when they were created; live. The statuses of the filter are chosen here. */
export function Stats({ filter, onChange, onTotal }: Props) {
  const [chosenSize, setSize] = useState<Size | null>(null)
  const { statuses, ...rest } = filter
  const address = JSON.stringify(rest)
  const [stats, setStats] = useState<FlowRunStats | null>(null)
  const [hasFailed, setFailed] = useState(false)
  const range = useMemo(() => rangeOf(JSON.parse(address) as RunsFilter), [address])
  const size = chosenSize ?? bucketSizeFor(range)
  const variables = useMemo(
    () => ({ filter: JSON.parse(address) as RunsFilter, size, ...range, timeZone: TIME_ZONE }),
    [address, size, range],
  )
  useSubscription<statsSubscription>(
    useMemo(
      () => ({
        subscription: SUBSCRIPTION,
        variables,
        onNext: (data) => {
          setFailed(false)
          setStats(data?.flowRunStatsChanged ?? null)
        },
        onError: () => setFailed(true),
      }),
      [variables],
    ),
  )
  const chosen = new Set(statuses)
  const total = stats
    ? stats.byStatus.reduce((sum, { status, count }) => sum + (!statuses || chosen.has(status) ? count : 0), 0)
    : null
  useEffect(() => onTotal(total), [total, onTotal])

  const toggle = (status: FlowRunStatus) => {
    const next = STATUSES.filter((other) => (other === status) !== chosen.has(other))
    onChange({ statuses: next.length ? next : undefined })
  }
  return (
    <section className="panel stats" aria-label="Statistics">
      <div className="counters" role="group" aria-label="Statuses">
        {STATUSES.map((status) => {
          const count = stats?.byStatus.find((other) => other.status === status)?.count
          return (
            <button
              key={status}
              type="button"
              className="counter"
              aria-pressed={chosen.has(status)}
              data-none={count === 0 || undefined}
              onClick={() => toggle(status)}
            >
              <span className="status-mark" style={{ background: statusColour(status) }} aria-hidden />
              <b>{count?.toLocaleString() ?? '–'}</b>
              <span>{words(status)}</span>
            </button>
          )
        })}
        <span className="grow" />
        <span className="durations dim wide-only">
          {stats?.durations && `median ${duration(stats.durations.p50Ms)}, 95 % ${duration(stats.durations.p95Ms)}`}
        </span>
      </div>
      <div className="histogram">
        <Suspense>
          {stats && <Histogram buckets={stats.timeBuckets} statuses={statuses ?? STATUSES} onRange={onChange} />}
        </Suspense>
        {hasFailed && <p className="dim">These statistics could not be computed. Narrow the filter.</p>}
      </div>
      <footer>
        <span className="dim">Created, by time. Drag to choose a range. {TIME_ZONE}</span>
        {stats && <Moves filter={filter} buckets={stats.timeBuckets} onChange={onChange} />}
        <span className="grow" />
        <Button
          size="compact-xs"
          variant="subtle"
          renderRoot={(props) => <Link to="/failures" search={rest} {...props} />}
        >
          Group the failures
        </Button>
        <OpenAsQuery document={SUBSCRIPTION} variables={variables} />
        <SegmentedControl
          size="xs"
          aria-label="Length of a bar"
          value={size}
          onChange={(value) => setSize(value)}
          data={[
            { value: 'MINUTE', label: 'Minute' },
            { value: 'HOUR', label: 'Hour' },
            { value: 'DAY', label: 'Day' },
          ]}
        />
      </footer>
    </section>
  )
}

const MOVES = [
  { move: 'EARLIER', label: 'Earlier' },
  { move: 'LATER', label: 'Later' },
  { move: 'WIDER', label: 'Zoom out' },
] as const

type MovesProps = {
  filter: RunsFilter
  buckets: FlowRunStats['timeBuckets']
  onChange: (changes: RunsSearch) => void
}

/** Moves the range of the time axis: what dragging cannot do, and without a mouse. */
function Moves({ filter, buckets, onChange }: MovesProps) {
  // The bars may still be those of the range before.
  const from = filter.createdAfter ?? buckets.at(0)?.start
  const to = filter.createdBefore ?? buckets.at(-1)?.end
  if (!from || !to) return null
  return (
    <span role="group" aria-label="Range of time">
      {MOVES.map(({ move, label }) => (
        <Button key={move} size="compact-xs" variant="subtle" onClick={() => onChange(movedRange({ from, to }, move))}>
          {label}
        </Button>
      ))}
    </span>
  )
}
