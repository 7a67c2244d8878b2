import { useEffect, useState } from 'react'
import { MultiSelect } from '@mantine/core'
import { useRelayEnvironment } from 'react-relay/hooks'
import { listOf, type RunsSearch } from '../shared/filter'
import { readFlowNames, readFlows } from './flow-requests'
import { usePicker, type PickerOption } from './use-picker'

type Props = { search: RunsSearch; onChange: (changes: RunsSearch) => void }

/** The flows whose runs are listed. */
export function FlowPicker({ search, onChange }: Props) {
  const [typed, setTyped] = useState('')
  const picker = usePicker(readFlows, { projectIds: search.projectIds }, typed)
  const [chosen, setChosen] = useNames(search.flowIds ?? [])
  const known = new Map([...chosen, ...picker.options].map(({ value, label }) => [value, label ?? value]))
  const ids = [...(search.flowIds ?? [])]
  return (
    <MultiSelect
      aria-label="Flows"
      placeholder={ids.length ? undefined : 'All flows'}
      data={[...new Set([...known.keys(), ...ids])].map((value) => ({ value, label: known.get(value) ?? value }))}
      value={ids}
      onChange={(flowIds) => {
        setChosen(flowIds.map((value) => ({ value, label: known.get(value) })))
        onChange({ flowIds: listOf(flowIds) })
      }}
      searchValue={typed}
      onSearchChange={setTyped}
      onDropdownOpen={picker.onOpen}
      onDropdownClose={picker.onClose}
      searchable
      hidePickedOptions
      className="filter-flows"
      nothingFoundMessage={picker.isLoading ? 'Loading…' : picker.error || 'No such flow'}
    />
  )
}

/** The names of chosen flows. A link has their IDs only. */
function useNames(ids: readonly string[]) {
  const environment = useRelayEnvironment()
  const [chosen, setChosen] = useState<PickerOption[]>([])
  const unknown = ids.filter((id) => !chosen.some(({ value }) => value === id)).join()
  useEffect(() => {
    if (!unknown) return
    const missing = unknown.split(',')
    readFlowNames(environment, missing)
      .then((named) => setChosen((old) => [...old, ...missing.map((value) => named.find((it) => it.value === value) ?? { value })]))
      .catch(() => {})
  }, [environment, unknown])
  return [chosen, setChosen] as const
}
