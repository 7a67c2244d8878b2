import { Checkbox, MultiSelect, Select } from '@mantine/core'
import { listOf, type RunsFilter } from '../shared/filter'
import { words } from '../shared/status'
import { useViewer } from '../shared/viewer'
import { WAIT_WORDS } from '../shared/waiting'
import { Seconds, TextField } from './fields'
import { MetadataFilter } from './metadata-filter'
import { PickerOfOne, PickerOfValues } from './picker'
import { readErrors, readFailedSteps, readSources, readTags } from './picker-requests'
import { ProjectFilter } from './project-filter'
import { TimeFilter } from './time-filter'

export type FilterPanelProps = { filter: RunsFilter; onChange: (changes: RunsFilter) => void }

type Chosen<Field extends keyof RunsFilter> = RunsFilter[Field]

const TRIGGERS = ['API', 'MANUAL', 'SCHEDULE', 'WEBHOOK', 'PARENT', 'RETRY'].map(choice)
const ENVIRONMENTS = ['PRODUCTION', 'TESTING'].map(choice)
const WAITS = Object.entries(WAIT_WORDS).map(([value, label]) => ({ value, label }))
const ARCHIVED = [
  { value: 'EXCLUDE', label: 'Without archived runs' },
  { value: 'INCLUDE', label: 'With archived runs' },
  { value: 'ONLY', label: 'Archived runs only' },
]
const IN_PANEL = { comboboxProps: { withinPortal: false } }

export function FilterPanel({ filter, onChange }: FilterPanelProps) {
  const viewer = useViewer()
  const without = (field: keyof RunsFilter): RunsFilter => ({ ...filter, [field]: undefined })
  return (
    <>
      {viewer.project === null && (
        <ProjectFilter ids={filter.projectIds} onChange={(projectIds) => onChange({ projectIds, flowIds: undefined })} />
      )}
      <MultiSelect
        {...IN_PANEL}
        label="Environment"
        data={ENVIRONMENTS}
        value={[...(filter.environments ?? [])]}
        onChange={(values) => onChange({ environments: listOf(values) as Chosen<'environments'> })}
      />
      <MultiSelect
        {...IN_PANEL}
        label="Trigger"
        data={TRIGGERS}
        value={[...(filter.triggerMethods ?? [])]}
        onChange={(values) => onChange({ triggerMethods: listOf(values) as Chosen<'triggerMethods'> })}
      />
      <PickerOfValues
        label="All of these tags"
        read={readTags}
        filter={filter}
        values={filter.tags}
        onChange={(tags) => onChange({ tags: listOf(tags) })}
      />
      <PickerOfValues
        label="Any of these tags"
        read={readTags}
        filter={without('anyTags')}
        values={filter.anyTags}
        onChange={(anyTags) => onChange({ anyTags: listOf(anyTags) })}
      />
      <MetadataFilter filter={filter} onChange={(metadataConditions) => onChange({ metadataConditions })} />
      <PickerOfOne
        label="Failed step"
        read={readFailedSteps}
        filter={without('failedStepName')}
        value={filter.failedStepName}
        onChange={(failedStepName) => onChange({ failedStepName })}
      />
      <PickerOfOne
        label="Error fingerprint"
        read={readErrors}
        filter={without('errorFingerprint')}
        value={filter.errorFingerprint}
        onChange={(errorFingerprint) => onChange({ errorFingerprint })}
      />
      <MultiSelect
        {...IN_PANEL}
        label="Waits for"
        data={WAITS}
        value={[...(filter.waitingFor ?? [])]}
        onChange={(values) => onChange({ waitingFor: listOf(values) as Chosen<'waitingFor'> })}
      />
      <PickerOfValues
        label="Sources"
        read={readSources}
        filter={without('sources')}
        values={filter.sources}
        onChange={(sources) => onChange({ sources: listOf(sources) })}
      />
      <PickerOfValues
        label="External IDs"
        read={NO_OPTIONS}
        filter={filter}
        values={filter.externalIds}
        onChange={(externalIds) => onChange({ externalIds: listOf(externalIds) })}
      />
      {viewer.payloads && (
        <TextField
          label="Text in inputs, outputs and logs"
          value={filter.search}
          onChange={(search) => onChange({ search })}
        />
      )}
      <Select
        {...IN_PANEL}
        label="Archive"
        data={ARCHIVED}
        value={filter.archived ?? 'EXCLUDE'}
        allowDeselect={false}
        onChange={(value) => onChange({ archived: value === 'EXCLUDE' ? undefined : (value as Chosen<'archived'>) })}
      />
      <div className="stack filter-flags">
        <Checkbox
          label="Unrecovered: no retry succeeded"
          checked={filter.unrecovered ?? false}
          onChange={(event) => onChange({ unrecovered: event.currentTarget.checked || undefined })}
        />
        <Checkbox
          label="Without child runs"
          checked={filter.rootsOnly ?? false}
          onChange={(event) => onChange({ rootsOnly: event.currentTarget.checked || undefined })}
        />
      </div>
      <Seconds
        label="Took at least (seconds)"
        ms={filter.minDurationMs}
        onChange={(minDurationMs) => onChange({ minDurationMs })}
      />
      <Seconds
        label="Took at most (seconds)"
        ms={filter.maxDurationMs}
        onChange={(maxDurationMs) => onChange({ maxDurationMs })}
      />
      <TimeFilter filter={filter} onChange={onChange} />
    </>
  )
}

/** IDs that clients gave are all different: there is nothing to choose from. */
const NO_OPTIONS = async () => ({ options: [], isExact: true })

function choice(value: string) {
  return { value, label: words(value) }
}
