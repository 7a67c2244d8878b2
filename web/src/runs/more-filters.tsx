import { Checkbox, MultiSelect, NumberInput, Popover, Select, TagsInput, TextInput } from '@mantine/core'
import '@mantine/core/styles/NumberInput.layer.css'
import type { RunsSearch } from '../shared/filter'
import { words } from '../shared/status'
import { MetadataFilter } from './metadata-filter'

type Props = { search: RunsSearch; onChange: (changes: RunsSearch) => void }

const TRIGGERS = ['API', 'MANUAL', 'SCHEDULE', 'WEBHOOK', 'PARENT', 'RETRY'] as const
const ENVIRONMENTS = ['PRODUCTION', 'TESTING'] as const
const ARCHIVED = [
  { value: 'EXCLUDE', label: 'Without archived runs' },
  { value: 'INCLUDE', label: 'With archived runs' },
  { value: 'ONLY', label: 'Archived runs only' },
]
const SECOND_MS = 1_000

/** The panel of the filters that are needed less often. */
export default function MoreFilters({ search, onChange }: Props) {
  const inPanel = { comboboxProps: { withinPortal: false } }
  return (
    <Popover.Dropdown className="filter-panel" aria-label="More filters">
      <MultiSelect
        {...inPanel}
        label="Environment"
        data={ENVIRONMENTS.map((value) => ({ value, label: words(value) }))}
        value={[...(search.environments ?? [])]}
        onChange={(values) => onChange({ environments: list(values) as RunsSearch['environments'] })}
      />
      <MultiSelect
        {...inPanel}
        label="Trigger"
        data={TRIGGERS.map((value) => ({ value, label: words(value) }))}
        value={[...(search.triggerMethods ?? [])]}
        onChange={(values) => onChange({ triggerMethods: list(values) as RunsSearch['triggerMethods'] })}
      />
      <TagsInput
        label="All of these tags"
        value={[...(search.tags ?? [])]}
        onChange={(tags) => onChange({ tags: list(tags) })}
      />
      <TagsInput
        label="Any of these tags"
        value={[...(search.anyTags ?? [])]}
        onChange={(anyTags) => onChange({ anyTags: list(anyTags) })}
      />
      <MetadataFilter
        conditions={search.metadataConditions ?? []}
        onChange={(conditions) => onChange({ metadataConditions: list([...conditions]) })}
      />
      <TextField
        label="Failed step"
        value={search.failedStepName}
        onChange={(failedStepName) => onChange({ failedStepName })}
      />
      <TextField
        label="Error fingerprint"
        value={search.errorFingerprint}
        onChange={(errorFingerprint) => onChange({ errorFingerprint })}
      />
      <TagsInput
        label="External IDs"
        value={[...(search.externalIds ?? [])]}
        onChange={(externalIds) => onChange({ externalIds: list(externalIds) })}
      />
      <Select
        {...inPanel}
        label="Archive"
        data={ARCHIVED}
        value={search.archived ?? 'EXCLUDE'}
        allowDeselect={false}
        onChange={(value) => onChange({ archived: value === 'EXCLUDE' ? undefined : (value as 'INCLUDE' | 'ONLY') })}
      />
      <Seconds
        label="Took at least (seconds)"
        ms={search.minDurationMs}
        onChange={(minDurationMs) => onChange({ minDurationMs })}
      />
      <Seconds
        label="Took at most (seconds)"
        ms={search.maxDurationMs}
        onChange={(maxDurationMs) => onChange({ maxDurationMs })}
      />
      <Instant
        label="Created from"
        at={search.createdAfter}
        onChange={(createdAfter) => onChange({ createdAfter, createdWithin: undefined })}
      />
      <Instant
        label="Created before"
        at={search.createdBefore}
        onChange={(createdBefore) => onChange({ createdBefore, createdWithin: undefined })}
      />
      <Checkbox
        label="Unrecovered: no retry succeeded"
        checked={search.unrecovered ?? false}
        onChange={(event) => onChange({ unrecovered: event.currentTarget.checked || undefined })}
      />
      <Checkbox
        label="Without child runs"
        checked={search.rootsOnly ?? false}
        onChange={(event) => onChange({ rootsOnly: event.currentTarget.checked || undefined })}
      />
    </Popover.Dropdown>
  )
}

/** A filter by no value at all is none. */
function list<T>(values: T[]): T[] | undefined {
  return values.length ? values : undefined
}

type FieldProps<T> = { label: string; onChange: (value: T | undefined) => void }

function TextField({ label, value, onChange }: FieldProps<string> & { value: string | null | undefined }) {
  return (
    <TextInput
      key={value}
      label={label}
      defaultValue={value ?? ''}
      onBlur={(event) => onChange(event.currentTarget.value.trim() || undefined)}
      onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
    />
  )
}

function Seconds({ label, ms, onChange }: FieldProps<number> & { ms: number | null | undefined }) {
  return (
    <NumberInput
      key={ms}
      label={label}
      min={0}
      defaultValue={ms == null ? '' : ms / SECOND_MS}
      onBlur={(event) => {
        const text = event.currentTarget.value
        onChange(text === '' ? undefined : Math.round(Number(text) * SECOND_MS))
      }}
      hideControls
    />
  )
}

function Instant({ label, at, onChange }: FieldProps<string> & { at: string | null | undefined }) {
  return (
    <TextInput
      key={at}
      label={label}
      type="datetime-local"
      defaultValue={at ? localTime(at) : ''}
      onBlur={(event) => {
        const text = event.currentTarget.value
        onChange(text ? new Date(text).toISOString() : undefined)
      }}
    />
  )
}

/** An instant as the field for local times has it. */
function localTime(at: string): string {
  const instant = new Date(at)
  return new Date(instant.getTime() - instant.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
