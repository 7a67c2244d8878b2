import { useState, type SubmitEvent } from 'react'
import { Button, Checkbox, NativeSelect, TextInput } from '@mantine/core'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { Role } from '../__generated__/keyRequestsCreateMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { words } from '../shared/status'
import { createKey } from './key-requests'
import { useProjectField } from './project-field'

const ROLES: Role[] = ['VIEWER', 'OPERATOR', 'ADMIN']
const LIFETIMES = [
  { value: 'P1D', label: '1 day' },
  { value: 'P30D', label: '30 days' },
  { value: 'P90D', label: '90 days' },
  { value: 'P1Y', label: '1 year' },
  { value: '', label: 'No end' },
]

/** Creates an API key. */
export function KeyForm({ onSecret }: { onSecret: (secret: string) => void }) {
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const { projectId, field } = useProjectField()
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('VIEWER')
  const [expiresIn, setExpiresIn] = useState('P90D')
  const [payloads, setPayloads] = useState(true)
  const create = async (event: SubmitEvent) => {
    event.preventDefault()
    const variables = { name, role, expiresIn: expiresIn || null, payloads, projectId }
    const secret = await attempt(() => createKey(environment, variables))
    if (!secret) return
    onSecret(secret)
    setName('')
  }
  return (
    <form className="body stack" aria-label="New API key" onSubmit={(event) => void create(event)}>
      <div className="operate-form">
        {field}
        <TextInput
          label="Name of the key"
          placeholder="deploy"
          required
          value={name}
          onChange={({ currentTarget: { value } }) => setName(value)}
        />
        <NativeSelect
          label="Role"
          data={ROLES.map((value) => ({ value, label: words(value) }))}
          value={role}
          onChange={({ currentTarget: { value } }) => setRole(value as Role)}
        />
        <NativeSelect
          label="Lifetime"
          data={LIFETIMES}
          value={expiresIn}
          onChange={({ currentTarget: { value } }) => setExpiresIn(value)}
        />
      </div>
      <Checkbox
        label="It may read inputs, outputs, logs and files"
        checked={payloads}
        onChange={({ currentTarget: { checked } }) => setPayloads(checked)}
      />
      <Failure error={error} />
      <div>
        <Button type="submit" loading={isBusy}>
          Create the key
        </Button>
      </div>
    </form>
  )
}
