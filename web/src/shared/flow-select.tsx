import { useEffect, useState } from 'react'
import { Select } from '@mantine/core'
import { fetchQuery, graphql, useRelayEnvironment } from 'react-relay/hooks'
import type { flowSelectQuery } from '../__generated__/flowSelectQuery.graphql'

const QUERY = graphql`
  query flowSelectQuery($name: String, $ids: [ID!]) {
    found: flows(filter: { nameContains: $name }, first: 20) {
      nodes {
        id
        name
      }
    }
    selected: flows(filter: { ids: $ids }, first: 1) {
      nodes {
        id
        name
      }
    }
  }
`

const TYPING_MS = 200

type Choice = { readonly id: string; readonly name: string }
type Props = { label: string; value: string | undefined; onChange: (flowId: string | undefined) => void }

/** Chooses a flow by a part of its name. */
export function FlowSelect({ label, value, onChange }: Props) {
  const environment = useRelayEnvironment()
  const [name, setName] = useState('')
  const [choices, setChoices] = useState<readonly Choice[]>([])
  const typed = choices.some((choice) => choice.name === name) ? '' : name
  useEffect(() => {
    let stop = () => {}
    const timer = setTimeout(() => {
      const request = fetchQuery<flowSelectQuery>(environment, QUERY, { name: typed || null, ids: value ? [value] : [] })
      const reading = request.subscribe({
        next: ({ found, selected }) => {
          const known = new Set(found.nodes.map(({ id }) => id))
          setChoices([...selected.nodes.filter(({ id }) => !known.has(id)), ...found.nodes])
        },
        error: () => {},
      })
      stop = () => reading.unsubscribe()
    }, TYPING_MS)
    return () => {
      clearTimeout(timer)
      stop()
    }
  }, [environment, typed, value])
  return (
    <Select
      label={label}
      placeholder="Any"
      searchable
      clearable
      clearButtonProps={{ 'aria-label': `Clear ${label}` }}
      data={choices.map((choice) => ({ value: choice.id, label: choice.name }))}
      value={choices.some(({ id }) => id === value) ? value : null}
      onChange={(id) => onChange(id ?? undefined)}
      searchValue={name}
      onSearchChange={setName}
      nothingFoundMessage="No flow has such a name"
    />
  )
}
