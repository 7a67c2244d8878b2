import { Button, CloseButton } from '@mantine/core'
import { FILTER_FIELDS, isFiltered, type FilterField, type RunsSearch } from '../shared/filter'
import { words } from '../shared/status'
import { duration, fullTime } from '../shared/time'
import { WAIT_WORDS } from '../shared/waiting'
import { conditionText, type Condition } from './condition'
import { withinLabel } from './time-range'

type Props = {
  search: RunsSearch
  onChange: (changes: RunsSearch) => void
  onClear: () => void
  shownElsewhere: readonly FilterField[]
}

/** Filters that have a control of their own in the bar, which shows them. */
const IN_BAR = new Set<FilterField>(['flowIds', 'createdWithin', 'errorContains'])

/** The filters that are on, each with a button that takes it off. */
export function FilterChips({ search, onChange, onClear, shownElsewhere }: Props) {
  if (!isFiltered(search)) return null
  const chips = FILTER_FIELDS.filter((field) => !IN_BAR.has(field) && !shownElsewhere.includes(field))
  return (
    <div className="line filter-chips" role="group" aria-label="Filters">
      {chips
        .flatMap((field) => chipsOf(field, search))
        .map(({ text, without }) => (
          <span key={text} className="chip">
            <span className="cut" title={text}>
              {text}
            </span>
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
  if (!Array.isArray(value) || field === 'or')
    return [{ text: `${label} ${textOf(field, value)}`.trim(), without: { [field]: undefined } }]
  if (!value.length) return [{ text: `${label}: none`, without: { [field]: undefined } }]
  return value.map((item: unknown) => {
    const rest = value.filter((other) => other !== item)
    return { text: `${label} ${textOf(field, item)}`.trim(), without: { [field]: rest.length ? rest : undefined } }
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
  finishedAfter: 'Finished from',
  finishedWithin: 'Finished:',
  flowVersionIds: 'Version',
  ids: 'Run',
  maxDurationMs: 'At most',
  metadataConditions: '',
  minDurationMs: 'At least',
  or: 'One of',
  projectIds: 'Project',
  rootsOnly: 'Without child runs',
  scheduleIds: 'Schedule',
  search: 'Text',
  sources: 'Source',
  startedAfter: 'Started from',
  startedWithin: 'Started:',
  statuses: 'Status',
  tags: 'Tag',
  triggerMethods: 'Trigger',
  updatedAfter: 'Last changed from',
  updatedBefore: 'Last changed before',
  updatedWithin: 'Last changed:',
  waitingFor: 'Waits for',
  webhookIds: 'Webhook',
}
const IN_WORDS = new Set<FilterField>(['environments', 'triggerMethods', 'archived', 'statuses'])

function textOf(field: FilterField, value: unknown): string {
  if (value === true) return ''
  if (field === 'metadataConditions') return conditionText(value as Condition)
  if (field === 'waitingFor') return (WAIT_WORDS[value as keyof typeof WAIT_WORDS] ?? String(value)).toLowerCase()
  if (field.endsWith('After') || field.endsWith('Before')) return fullTime(String(value))
  if (field.endsWith('Within')) return withinLabel(String(value)).toLowerCase()
  if (field.endsWith('Ms')) return duration(Number(value))
  if (IN_WORDS.has(field)) return words(String(value)).toLowerCase()
  return typeof value === 'string' ? value : JSON.stringify(value)
}
