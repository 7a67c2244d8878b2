import { useMemo, useState, type SubmitEvent } from 'react'
import { Autocomplete, Button, Select } from '@mantine/core'
import type { RunsFilter } from '../shared/filter'
import { COMPARISONS, conditionOf, type Condition } from './condition'
import { shared } from './picker'
import { readMetadataPaths, readMetadataValues } from './picker-requests'
import { usePicker } from './use-picker'

type Props = { filter: RunsFilter; onChange: (conditions: Condition[]) => void }

/** Adds a condition on one value of the metadata: `customer.id` is `acme`. */
export function MetadataFilter({ filter, onChange }: Props) {
  const [path, setPath] = useState('')
  const [comparison, setComparison] = useState('equals')
  const [value, setValue] = useState('')
  const key = path.trim()
  const paths = usePicker(readMetadataPaths, filter, path)
  const values = usePicker(
    useMemo(() => readMetadataValues(key), [key]),
    filter,
    value,
  )
  const add = (event: SubmitEvent) => {
    event.preventDefault()
    onChange([...(filter.metadataConditions ?? []), conditionOf(key, comparison, value.trim())])
    setPath('')
    setValue('')
  }
  return (
    <form onSubmit={add} className="metadata-filter">
      <Autocomplete
        {...shared({ label: 'Metadata path', placeholder: 'customer.id' }, paths)}
        value={path}
        onChange={setPath}
        required
        withAsterisk={false}
      />
      <Select
        aria-label="Comparison"
        data={COMPARISONS}
        value={comparison}
        onChange={(chosen) => setComparison(chosen ?? 'equals')}
        allowDeselect={false}
        comboboxProps={{ withinPortal: false }}
      />
      <Autocomplete
        {...shared({ label: 'Metadata value', placeholder: 'acme' }, values)}
        value={value}
        onChange={setValue}
        disabled={comparison === 'exists'}
      />
      <Button type="submit" variant="default">
        Add
      </Button>
    </form>
  )
}
