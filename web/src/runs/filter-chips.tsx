import { Button, CloseButton } from '@mantine/core'
import { FILTER_FIELDS, type FilterField, type RunsFilter, type RunsSearch } from '../shared/filter'
import { words } from '../shared/status'
import { duration, fullTime } from '../shared/time'
import { conditionText } from './metadata-condition'

type Props = { search: RunsSearch; onChange: (changes: RunsSearch) => void; onClear: () => void }

/** Filters that have a control of their own in the bar, which shows them. */
const SHOWN_ELSEWHERE = new Set<FilterField>(['flowIds', 'statuses', 'createdWithin', 'errorContains'])

/** The filters that are on, each with a button that takes it off. */
export function FilterChips({ search, onChange, onClear }: Props) {
  const chips = FILTER_FIELDS.filter((field) => !SHOWN_ELSEWHERE.has(field)).flatMap((field) => chipsOf(field, search))
  const isFiltered = FILTER_FIELDS.some((field) => search[field] !== undefined)
  if (!isFiltered) return null
  return (
    <div className="line filter-chips" role="group" aria-label="Filters">
      {chips.map(({ text, without }) => (
        <span key={text} className="chip">
          {text}
          <CloseButton size="xs" aria-label={`Remove ${text}`} onClick={() => onChange(without)} />
        </span>
      ))}
      <Button variant="subtle" size="compact-xs" onClick={onClear}>
        Clear all
      </Button>
    </div>
  )
}

type Chip = { text: string; without: RunsSearch }

function chipsOf(field: FilterField, search: RunsSearch): Chip[] {
  const value: unknown = search[field]
  if (value === undefined || value === null) return []
  const label = LABELS[field] ?? words(field.replace(/[A-Z]/g, (letter) => ` ${letter}`).toUpperCase())
  if (!Array.isArray(value)) return [{ text: `${label} ${textOf(field, value)}`.trim(), without: { [field]: undefined } }]
  return value.map((item: unknown) => {
    const rest = value.filter((other) => other !== item)
    return { text: `${label} ${textOf(field, item)}`, without: { [field]: rest.length ? rest : undefined } }
  })
}

const LABELS: Partial<Record<FilterField, string>> = {
  anyTags: 'Any tag',
  archived: 'Archive:',
  createdAfter: 'Created from',
  environments: 'Environment',
  errorFingerprint: 'Fingerprint',
  externalIds: 'External ID',
  failedStepName: 'Failed at',
  ids: 'Run',
  maxDurationMs: 'At most',
  metadataConditions: '',
  minDurationMs: 'At least',
  rootsOnly: 'Without child runs',
  sources: 'Source',
  tags: 'Tag',
  triggerMethods: 'Trigger',
}

function textOf(field: FilterField, value: unknown): string {
  if (value === true) return ''
  if (field === 'metadataConditions')
    return conditionText(value as NonNullable<RunsFilter['metadataConditions']>[number])
  if (field.endsWith('After') || field.endsWith('Before')) return fullTime(String(value))
  if (field.endsWith('Ms')) return duration(Number(value))
  if (field === 'environments' || field === 'triggerMethods' || field === 'archived')
    return words(String(value)).toLowerCase()
  return String(value)
}
