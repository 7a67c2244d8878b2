import { useState, type SubmitEvent } from 'react'
import { Button, TextInput } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'

/** The IDs of the two runs, which the address holds. */
export function PairForm({ left, right }: { left: string; right: string }) {
  const [first, setFirst] = useState(left)
  const [second, setSecond] = useState(right)
  const navigate = useNavigate({ from: '/compare' })
  const show = (pair: { left: string; right: string }) => void navigate({ search: pair })
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    show({ left: first.trim(), right: second.trim() })
  }
  return (
    <form onSubmit={submit} className="compare-pair">
      <TextInput
        label="Left run"
        placeholder="run_…"
        value={first}
        onChange={(event) => setFirst(event.currentTarget.value)}
        required
        withAsterisk={false}
      />
      <TextInput
        label="Right run"
        placeholder="run_…"
        value={second}
        onChange={(event) => setSecond(event.currentTarget.value)}
        required
        withAsterisk={false}
      />
      <Button type="submit" variant="default">
        Compare
      </Button>
      <Button variant="subtle" onClick={() => show({ left: second.trim(), right: first.trim() })}>
        Swap
      </Button>
    </form>
  )
}
