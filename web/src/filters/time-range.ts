/** Ranges of time that a list of runs can be restricted to. */

import type { RunsFilter, RunsSearch } from '../shared/filter'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** The times of a filter that a choice of a range replaces. */
const NO_RANGE = { createdWithin: undefined, createdAfter: undefined, createdBefore: undefined } satisfies RunsSearch

const WITHIN: Record<string, { label: string; ms: number }> = {
  PT15M: { label: 'Last 15 minutes', ms: 15 * MINUTE_MS },
  PT1H: { label: 'Last hour', ms: HOUR_MS },
  P1D: { label: 'Last 24 hours', ms: DAY_MS },
  P7D: { label: 'Last 7 days', ms: 7 * DAY_MS },
  P30D: { label: 'Last 30 days', ms: 30 * DAY_MS },
}

type Choice = { value: string; label: string }

/** Durations before now. */
export const WITHINS: Choice[] = Object.entries(WITHIN).map(([value, { label }]) => ({ value, label }))

const RANGES: Choice[] = [
  { value: 'ANY', label: 'Any time' },
  ...WITHINS,
  { value: 'TODAY', label: 'Today' },
  { value: 'YESTERDAY', label: 'Yesterday' },
  { value: 'CUSTOM', label: 'From … to …' },
]

export function withinLabel(within: string): string {
  return WITHIN[within]?.label ?? `Within ${within}`
}

/** The ranges to choose from, with the one that the search holds: an address can hold any duration. */
export function rangesFor({ createdWithin }: RunsSearch): Choice[] {
  if (!createdWithin || createdWithin in WITHIN) return RANGES
  return [...RANGES, { value: createdWithin, label: withinLabel(createdWithin) }]
}

/** What a chosen range changes in the search. Days begin at midnight in the viewer's time zone. */
export function searchOfRange(range: string): RunsSearch {
  const today = new Date()
  today.setHours(0, 0, 0, 0)
  const yesterday = new Date(today)
  yesterday.setDate(today.getDate() - 1)
  switch (range) {
    case 'ANY':
      return NO_RANGE
    case 'TODAY':
      return { ...NO_RANGE, createdAfter: today.toISOString() }
    case 'YESTERDAY':
      return { ...NO_RANGE, createdAfter: yesterday.toISOString(), createdBefore: today.toISOString() }
    case 'CUSTOM':
      return { ...NO_RANGE, createdAfter: new Date(Date.now() - DAY_MS).toISOString() }
    default:
      return { ...NO_RANGE, createdWithin: range }
  }
}

/** The range that a search holds. */
export function rangeOfSearch(search: RunsSearch): string {
  const { createdWithin, createdAfter, createdBefore } = search
  if (createdWithin) return createdWithin
  if (!createdAfter && !createdBefore) return 'ANY'
  const named = ['TODAY', 'YESTERDAY'].find((range) => {
    const times = searchOfRange(range)
    return times.createdAfter === createdAfter && times.createdBefore === createdBefore
  })
  return named ?? 'CUSTOM'
}

export type Range = { from: string | null; to: string | null }

/** The ends of the statistics' time axis. Without a range in the filter the service chooses it. */
export function rangeOf({ createdWithin, createdAfter, createdBefore }: RunsFilter): Range {
  const within = createdWithin ? WITHIN[createdWithin] : undefined
  if (within) return { from: new Date(Date.now() - within.ms).toISOString(), to: null }
  return { from: createdAfter ?? null, to: createdBefore ?? null }
}

/** A range of the same length before or after the one that the time axis shows, or one of twice its length around it. */
export function movedRange({ from, to }: { from: string; to: string }, move: 'EARLIER' | 'LATER' | 'WIDER'): RunsSearch {
  const [start, end] = [Date.parse(from), Date.parse(to)]
  const length = end - start
  const by = { EARLIER: [-length, -length], LATER: [length, length], WIDER: [-length / 2, length / 2] } as const
  const [startBy, endBy] = by[move]
  const moved = (at: number) => new Date(at).toISOString()
  return { createdWithin: undefined, createdAfter: moved(start + startBy), createdBefore: moved(end + endBy) }
}

/** The length of a bar with which a range is neither a few bars nor a thousand. */
export function bucketSizeFor({ from, to }: Range): 'MINUTE' | 'HOUR' | 'DAY' {
  if (!from) return 'HOUR'
  const ms = (to ? Date.parse(to) : Date.now()) - Date.parse(from)
  return ms <= 3 * HOUR_MS ? 'MINUTE' : ms <= 8 * DAY_MS ? 'HOUR' : 'DAY'
}
