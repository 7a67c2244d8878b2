import { useState } from 'react'
import { SegmentedControl, Select } from '@mantine/core'
import type { RunsFilter } from '../shared/filter'
import { Instant } from './fields'
import { withinLabel, WITHINS } from './time-range'

const TIMES = ['created', 'started', 'finished', 'updated'] as const
type TimeOfRun = (typeof TIMES)[number]
const LABELS: Record<TimeOfRun, string> = {
  created: 'Created',
  started: 'Started',
  finished: 'Finished',
  updated: 'Last changed',
}

type Props = { filter: RunsFilter; onChange: (changes: RunsFilter) => void }

/** Restricts one of the times of runs, at a time: before now, or between two instants. */
export function TimeFilter({ filter, onChange }: Props) {
  const [time, setTime] = useState<TimeOfRun>(() => TIMES.find((it) => isRestricted(filter, it)) ?? 'created')
  const within = filter[`${time}Within`]
  const change = (changes: { within?: string; after?: string; before?: string }) =>
    onChange({ [`${time}Within`]: changes.within, [`${time}After`]: changes.after, [`${time}Before`]: changes.before })
  const after = filter[`${time}After`] ?? undefined
  const before = filter[`${time}Before`] ?? undefined
  const label = LABELS[time]
  return (
    <fieldset className="filter-group time-filter">
      <legend>Time</legend>
      <SegmentedControl
        aria-label="Which time"
        value={time}
        onChange={(value) => setTime(value)}
        data={TIMES.map((value) => ({ value, label: LABELS[value] }))}
      />
      <Select
        key={time}
        label={`${label} within`}
        placeholder="Any time"
        data={within && !WITHINS.some(({ value }) => value === within) ? [...WITHINS, { value: within, label: withinLabel(within) }] : WITHINS}
        value={within ?? null}
        onChange={(value) => change({ within: value ?? undefined })}
        comboboxProps={{ withinPortal: false }}
        clearable
      />
      <Instant key={`${time} from`} label={`${label} from`} at={after} onChange={(it) => change({ after: it, before })} />
      <Instant key={`${time} before`} label={`${label} before`} at={before} onChange={(it) => change({ after, before: it })} />
    </fieldset>
  )
}

function isRestricted(filter: RunsFilter, time: TimeOfRun): boolean {
  return (['Within', 'After', 'Before'] as const).some((end) => filter[`${time}${end}`] != null)
}
