import { useState, type SubmitEvent } from 'react'
import { Button, NativeSelect, NumberInput, TextInput } from '@mantine/core'
import '@mantine/core/styles/NumberInput.layer.css'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { AlertCondition } from '../__generated__/alertRequestsCreateMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import type { RunsFilter } from '../shared/filter'
import { createAlert } from './alert-requests'
import { CONDITIONS } from './conditions'
import { useProjectField } from './project-field'
import { RunFilter } from './run-filter'

const QUIET = [
  { value: 'PT1M', label: '1 minute' },
  { value: 'PT15M', label: '15 minutes' },
  { value: 'PT1H', label: '1 hour' },
  { value: 'P1D', label: '1 day' },
  { value: 'P7D', label: '7 days' },
]

/** Creates an alert. */
export function AlertForm() {
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const { projectId, field } = useProjectField()
  const [name, setName] = useState('')
  const [target, setTarget] = useState('')
  const [condition, setCondition] = useState<AlertCondition>('FAILURE')
  const [threshold, setThreshold] = useState<number | ''>('')
  const [quiet, setQuiet] = useState('PT1H')
  const [filter, setFilter] = useState<RunsFilter>({})
  const asked = CONDITIONS[condition].threshold
  const create = async (event: SubmitEvent) => {
    event.preventDefault()
    const made = await attempt(() =>
      createAlert(environment, {
        name,
        target,
        condition,
        threshold: asked && threshold !== '' ? threshold : undefined,
        quiet,
        filter,
        enabled: true,
        projectId,
      }),
    )
    if (!made) return
    setName('')
    setTarget('')
    setFilter({})
  }
  return (
    <form className="body stack" aria-label="New alert" onSubmit={(event) => void create(event)}>
      <div className="operate-form">
        {field}
        <TextInput
          label="Name of the alert"
          placeholder="Billing"
          required
          value={name}
          onChange={({ currentTarget: { value } }) => setName(value)}
        />
        <TextInput
          className="wide"
          label="Target"
          placeholder="mailto:ops@example.com or slack://…"
          required
          value={target}
          onChange={({ currentTarget: { value } }) => setTarget(value)}
        />
        <NativeSelect
          label="Condition"
          data={Object.entries(CONDITIONS).map(([value, { label }]) => ({ value, label }))}
          value={condition}
          onChange={({ currentTarget: { value } }) => {
            setCondition(value as AlertCondition)
            setThreshold('')
          }}
        />
        {asked && (
          <NumberInput
            label={asked.label}
            placeholder={String(asked.initial)}
            min={1}
            value={threshold}
            onChange={(value) => setThreshold(value === '' ? '' : Number(value))}
          />
        )}
        <NativeSelect
          label="Quiet after a message"
          data={QUIET}
          value={quiet}
          onChange={({ currentTarget: { value } }) => setQuiet(value)}
        />
      </div>
      <RunFilter filter={filter} onChange={setFilter} />
      <Failure error={error} />
      <div>
        <Button type="submit" loading={isBusy}>
          Create the alert
        </Button>
      </div>
    </form>
  )
}
