import { Button, Checkbox, NativeSelect, TextInput } from '@mantine/core'
import { FlowSelect } from '../shared/flow-select'
import { words } from '../shared/status'
import { REQUEST_STATUSES, type InboxSearch } from './search'

const AGES = [
  { value: '', label: 'Any' },
  { value: 'PT15M', label: 'Over 15 minutes' },
  { value: 'PT1H', label: 'Over 1 hour' },
  { value: 'P1D', label: 'Over 1 day' },
  { value: 'P7D', label: 'Over 7 days' },
]
const EXPIRIES = [
  { value: '', label: 'Any' },
  { value: 'PT1H', label: 'Within 1 hour' },
  { value: 'P1D', label: 'Within 1 day' },
  { value: 'P7D', label: 'Within 7 days' },
]
const STATUSES = [
  ...REQUEST_STATUSES.map((value) => ({ value: value as string, label: words(value) })),
  { value: 'ALL', label: 'All' },
]

type Props = { search: InboxSearch; onChange: (changes: InboxSearch) => void }

export function InboxFilters({ search, onChange }: Props) {
  const isFiltered = Object.values(search).some(Boolean)
  return (
    <div className="inbox-filters" role="group" aria-label="Filters">
      <NativeSelect
        label="Status"
        data={STATUSES}
        value={search.status ?? 'PENDING'}
        onChange={({ currentTarget: { value } }) => onChange({ status: value === 'PENDING' ? undefined : value })}
      />
      <TextInput
        key={search.assignee ?? ''}
        label="Assignee"
        placeholder="Anybody"
        defaultValue={search.assignee}
        disabled={Boolean(search.unassigned)}
        onBlur={({ currentTarget: { value } }) => value !== (search.assignee ?? '') && onChange({ assignee: value || undefined })}
        onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
      />
      <FlowSelect
        label="Flow"
        value={search.flowIds?.[0]}
        onChange={(flowId) => onChange({ flowIds: flowId ? [flowId] : undefined })}
      />
      <NativeSelect
        label="Waiting for"
        data={AGES}
        value={search.olderThan ?? ''}
        onChange={({ currentTarget: { value } }) => onChange({ olderThan: value || undefined })}
      />
      <NativeSelect
        label="Expires"
        data={EXPIRIES}
        value={search.expiresWithin ?? ''}
        onChange={({ currentTarget: { value } }) => onChange({ expiresWithin: value || undefined })}
      />
      <Checkbox
        label="Without assignee only"
        checked={Boolean(search.unassigned)}
        onChange={({ currentTarget: { checked } }) =>
          onChange({ unassigned: checked ? 'true' : undefined, assignee: undefined })
        }
      />
      {isFiltered && (
        <Button
          variant="subtle"
          onClick={() => onChange(Object.fromEntries(Object.keys(search).map((name) => [name, undefined])))}
        >
          Clear filters
        </Button>
      )}
    </div>
  )
}
