import { useEffect, useRef, useState, type SubmitEvent } from 'react'
import { MultiSelect, Select, TextInput } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { fetchQuery, graphql, useRelayEnvironment } from 'react-relay/hooks'
import type { filterBarFlowsQuery } from '../__generated__/filterBarFlowsQuery.graphql'
import type { RunsSearch } from '../shared/filter'
import { FilterChips } from './filter-chips'
import { MoreFiltersButton } from './more-filters-button'
import { RANGES, rangeOfSearch, searchOfRange } from './time-range'

const FLOWS = graphql`
  query filterBarFlowsQuery {
    flows(first: 1000) {
      nodes {
        id
        name
      }
    }
  }
`

type Flow = filterBarFlowsQuery['response']['flows']['nodes'][number]
type Props = { search: RunsSearch; onChange: (changes: RunsSearch) => void; onClear: () => void }

const RUN_ID = /^run_[0-9a-f-]{32,36}$/i

/** Everything that the list can be restricted by. `/` goes to the text; a run ID in it opens the run. */
export function FilterBar({ search, onChange, onClear }: Props) {
  const flows = useFlows()
  return (
    <search className="filter-bar">
      <div className="filter-line">
        <TextFilter text={search.errorContains} onChange={(errorContains) => onChange({ errorContains })} />
        <Select
          aria-label="Created"
          data={RANGES}
          value={rangeOfSearch(search)}
          onChange={(range) => onChange(searchOfRange(range ?? 'ANY'))}
          allowDeselect={false}
          w={160}
          maxDropdownHeight={400}
        />
        <MultiSelect
          aria-label="Flows"
          placeholder={search.flowIds?.length ? undefined : 'All flows'}
          data={flows.map(({ id, name }) => ({ value: id, label: name }))}
          value={[...(search.flowIds ?? [])]}
          onChange={(flowIds) => onChange({ flowIds: flowIds.length ? flowIds : undefined })}
          searchable
          className="filter-flows"
          nothingFoundMessage="No such flow"
        />
        <MoreFiltersButton search={search} onChange={onChange} />
      </div>
      <FilterChips search={search} onChange={onChange} onClear={onClear} />
    </search>
  )
}

type TextProps = { text: string | undefined | null; onChange: (text: string | undefined) => void }

function TextFilter({ text, onChange }: TextProps) {
  const field = useRef<HTMLInputElement>(null)
  const [value, setValue] = useState(text ?? '')
  const navigate = useNavigate()
  useEffect(() => setValue(text ?? ''), [text])
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement
      if (event.key !== '/' || target.closest('input, textarea, [contenteditable], .monaco-editor')) return
      event.preventDefault()
      field.current?.select()
    }
    addEventListener('keydown', focus)
    return () => removeEventListener('keydown', focus)
  }, [])

  const apply = (entered: string) => {
    const trimmed = entered.trim()
    if (RUN_ID.test(trimmed)) void navigate({ to: '/runs/$runId', params: { runId: trimmed } })
    else onChange(trimmed || undefined)
  }
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    apply(value)
  }
  return (
    <form onSubmit={submit} className="filter-text">
      <TextInput
        ref={field}
        type="search"
        aria-label="Error text or run ID"
        placeholder="Error text, or a run ID    /"
        value={value}
        onChange={(event) => setValue(event.currentTarget.value)}
        onBlur={() => value.trim() !== (text ?? '') && apply(value)}
        onPaste={(event) => {
          const pasted = event.clipboardData.getData('text').trim()
          if (RUN_ID.test(pasted)) apply(pasted)
        }}
        rightSectionWidth={0}
      />
    </form>
  )
}

function useFlows(): readonly Flow[] {
  const environment = useRelayEnvironment()
  const [flows, setFlows] = useState<readonly Flow[]>([])
  useEffect(() => {
    const request = fetchQuery<filterBarFlowsQuery>(environment, FLOWS, {}).subscribe({
      next: (data) => setFlows(data.flows.nodes),
      error: () => {},
    })
    return () => request.unsubscribe()
  }, [environment])
  return flows
}
