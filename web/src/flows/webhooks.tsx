import { useState, type SubmitEvent } from 'react'
import { Alert, Button, TextInput } from '@mantine/core'
import '@mantine/core/styles/Alert.layer.css'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { webhooks_flow$key } from '../__generated__/webhooks_flow.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { BASE_PATH } from '../shared/base-path'
import { CopyButton } from '../shared/copy'
import { useMayAdminister } from '../shared/viewer'
import { addWebhook } from './webhook-requests'
import { CallsField, WebhookRow } from './webhook-row'

const FRAGMENT = graphql`
  fragment webhooks_flow on Flow {
    id
    webhooks {
      id
      name
      hint
      signatureHeader
      callsPerMinute
      createdAt
      rotatedAt
    }
  }
`

export function Webhooks({ flow: key }: { flow: webhooks_flow$key }) {
  const flow = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const mayAdminister = useMayAdminister()
  const [name, setName] = useState('')
  const [input, setInput] = useState('')
  const [limit, setLimit] = useState('')
  const [path, setPath] = useState('')
  const { error, attempt } = useAttempt()
  const add = async (event: SubmitEvent) => {
    event.preventDefault()
    const made = await attempt(() => addWebhook(environment, flow.id, { name, input, callsPerMinute: limit }))
    if (made === null) return
    setPath(made)
    setName('')
    setInput('')
    setLimit('')
  }
  return (
    <section className="panel" aria-label="Webhooks">
      {path && <NewPath path={path} />}
      {flow.webhooks.length ? (
        <div className="scroll-x">
          <table className="plain">
            <thead>
              <tr>
                <th>Webhook</th>
                <th>Token</th>
                <th>Signature</th>
                <th>Calls a minute</th>
                <th>Created</th>
                <th>What next</th>
              </tr>
            </thead>
            <tbody>
              {flow.webhooks.map((webhook) => (
                <WebhookRow key={webhook.id} webhook={webhook} flowId={flow.id} onPath={setPath} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>No webhook starts this flow</strong>
        </div>
      )}
      {mayAdminister && (
        <form
          className="body line"
          onSubmit={(event) => void add(event)}
          style={{ alignItems: 'flex-end', borderTop: '1px solid var(--line)' }}
        >
          <TextInput
            label="Name of the webhook"
            placeholder="Shop"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            required
          />
          <TextInput
            label="Input as JSON"
            placeholder='{"order": "{{ request.body.order }}"}'
            value={input}
            onChange={(event) => setInput(event.currentTarget.value)}
          />
          <CallsField
            label="Calls a minute"
            value={limit}
            onChange={(event) => setLimit(event.currentTarget.value)}
          />
          <span className="dim">By default the request is the input.</span>
          <Button type="submit">Add a webhook</Button>
          <Failure error={error} />
        </form>
      )}
    </section>
  )
}

/** The URL of a webhook with a new token, which is shown this once, as a command to paste. */
function NewPath({ path }: { path: string }) {
  const command = `curl -X POST ${location.origin}${BASE_PATH}${path} -H 'content-type: application/json' -d '{}'`
  return (
    <Alert color="green" variant="outline" m="sm" title="Call it like this. The token is shown only now.">
      <div className="line">
        <code className="mono" style={{ overflowWrap: 'anywhere' }}>
          {command}
        </code>
        <CopyButton text={command} label="Copy the command" />
      </div>
    </Alert>
  )
}
