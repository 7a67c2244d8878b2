import { useState, type SubmitEvent } from 'react'
import { Button, Select, TextInput } from '@mantine/core'
import { COMPARISONS, conditionOf, type Conditions } from './metadata-condition'

type Props = { conditions: Conditions; onChange: (conditions: Conditions) => void }

/** Adds a condition on one value of the metadata: `customer.id` is `acme`. */
export function MetadataFilter({ conditions, onChange }: Props) {
  const [path, setPath] = useState('')
  const [comparison, setComparison] = useState('equals')
  const [value, setValue] = useState('')
  const add = (event: SubmitEvent) => {
    event.preventDefault()
    onChange([...conditions, conditionOf(path.trim(), comparison, value.trim())])
    setPath('')
    setValue('')
  }
  return (
    <form onSubmit={add} className="metadata-filter">
      <TextInput
        label="Metadata path"
        placeholder="customer.id"
        value={path}
        onChange={(event) => setPath(event.currentTarget.value)}
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
      <TextInput
        aria-label="Metadata value"
        {...(comparison === 'atLeast' || comparison === 'atMost' ? { type: 'number', step: 'any', required: true } : {})}
        placeholder="acme"
        value={value}
        onChange={(event) => setValue(event.currentTarget.value)}
        disabled={comparison === 'exists'}
      />
      <Button type="submit" variant="default">
        Add
      </Button>
    </form>
  )
}
