import { useState, type FormEvent } from 'react'
import { Button, Select, TextInput } from '@mantine/core'
import type { RunsFilter } from '../shared/filter'

type Conditions = NonNullable<RunsFilter['metadataConditions']>
type Condition = Conditions[number]
type Props = { conditions: Conditions; onChange: (conditions: Conditions) => void }

const COMPARISONS = [
  { value: 'equals', label: 'is' },
  { value: 'prefix', label: 'begins with' },
  { value: 'atLeast', label: 'at least' },
  { value: 'atMost', label: 'at most' },
  { value: 'exists', label: 'exists' },
]

/** Adds a condition on one value of the metadata: `customer.id` is `acme`. */
export function MetadataFilter({ conditions, onChange }: Props) {
  const [path, setPath] = useState('')
  const [comparison, setComparison] = useState('equals')
  const [value, setValue] = useState('')
  const add = (event: FormEvent) => {
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

function conditionOf(path: string, comparison: string, value: string): Condition {
  switch (comparison) {
    case 'exists':
      return { path, exists: true }
    case 'prefix':
      return { path, prefix: value }
    case 'atLeast':
      return { path, atLeast: Number(value) }
    case 'atMost':
      return { path, atMost: Number(value) }
    default:
      return { path, equals: asJson(value) }
  }
}

/** Numbers and booleans as such; everything else is a string. `"1"` in quotes is the string. */
function asJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' ? text : value
  } catch {
    return text
  }
}

/** A condition as a person would write it. */
export function conditionText({ path, ...comparisons }: Condition): string {
  const said = Object.entries(comparisons)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => {
      const label = COMPARISONS.find((it) => it.value === name)?.label ?? name
      return name === 'exists' ? label : `${label} ${typeof value === 'string' ? value : JSON.stringify(value)}`
    })
  return `${path} ${said.join(' and ')}`
}
