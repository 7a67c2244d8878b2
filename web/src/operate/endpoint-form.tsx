import { useState, type SubmitEvent } from 'react'
import { Button, Checkbox, MultiSelect, TextInput } from '@mantine/core'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { EventKind } from '../__generated__/endpointRequestsCreateMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import type { RunsFilter } from '../shared/filter'
import { words } from '../shared/status'
import { createEndpoint } from './endpoint-requests'
import { useProjectField } from './project-field'
import { RunFilter } from './run-filter'

const KINDS: EventKind[] = [
  'RUN_ENDED',
  'RUN_STATUS_CHANGED',
  'RUN_RECOVERED',
  'RUN_CHANGED',
  'RUN_ARCHIVED',
  'RUN_UNARCHIVED',
  'INPUT_REQUEST_CHANGED',
]

/** Creates an endpoint. */
export function EndpointForm({ onSecret }: { onSecret: (secret: string) => void }) {
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const { projectId, field } = useProjectField()
  const [name, setName] = useState('')
  const [url, setUrl] = useState('')
  const [kinds, setKinds] = useState<EventKind[]>(['RUN_ENDED'])
  const [filter, setFilter] = useState<RunsFilter>({})
  const [payloads, setPayloads] = useState(false)
  const create = async (event: SubmitEvent) => {
    event.preventDefault()
    const secret = await attempt(() =>
      createEndpoint(environment, { name, url, kinds, filter, payloads, enabled: true, projectId }),
    )
    if (!secret) return
    onSecret(secret)
    setName('')
    setUrl('')
    setFilter({})
  }
  return (
    <form className="body stack" aria-label="New endpoint" onSubmit={(event) => void create(event)}>
      <div className="operate-form">
        {field}
        <TextInput
          label="Name of the endpoint"
          placeholder="Shop"
          required
          value={name}
          onChange={({ currentTarget: { value } }) => setName(value)}
        />
        <TextInput
          className="wide"
          label="URL"
          placeholder="https://shop.example/events"
          required
          value={url}
          onChange={({ currentTarget: { value } }) => setUrl(value)}
        />
        <MultiSelect
          label="Kinds of events"
          data={KINDS.map((value) => ({ value, label: words(value) }))}
          value={kinds}
          onChange={(values) => setKinds(values)}
        />
      </div>
      <RunFilter filter={filter} onChange={setFilter} />
      <Checkbox
        label="Send inputs, outputs and messages of runs"
        checked={payloads}
        onChange={({ currentTarget: { checked } }) => setPayloads(checked)}
      />
      <Failure error={error} />
      <div>
        <Button type="submit" loading={isBusy}>
          Create the endpoint
        </Button>
      </div>
    </form>
  )
}
