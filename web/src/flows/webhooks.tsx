import { useState, type SubmitEvent } from 'react'
import { Alert, Button, TextInput } from '@mantine/core'
import '@mantine/core/styles/Alert.layer.css'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { webhooks_flow$key } from '../__generated__/webhooks_flow.graphql'
import type { webhooksAddMutation } from '../__generated__/webhooksAddMutation.graphql'
import { CopyButton } from '../shared/copy'
import { mutate, refused } from '../shared/mutate'
import { Time } from '../shared/time'
import { useMayAdminister } from '../shared/viewer'
import { BASE_PATH } from '../shared/base-path'

const FRAGMENT = graphql`
  fragment webhooks_flow on Flow {
    id
    webhooks {
      id
      name
      hint
      signatureHeader
      createdAt
    }
  }
`

const ADD = graphql`
  mutation webhooksAddMutation($flowId: ID!, $name: String!, $input: JSON) {
    createWebhook(flowId: $flowId, name: $name, input: $input) {
      ... on CreateWebhookSuccess {
        path
        webhook {
          flow {
            ...webhooks_flow
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

export function Webhooks({ flow: key }: { flow: webhooks_flow$key }) {
  const flow = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const mayAdminister = useMayAdminister()
  const [name, setName] = useState('')
  const [input, setInput] = useState('')
  const [path, setPath] = useState('')
  const [error, setError] = useState('')
  const add = async (event: SubmitEvent) => {
    event.preventDefault()
    setError('')
    try {
      const variables = { flowId: flow.id, name, input: input.trim() ? (JSON.parse(input) as unknown) : undefined }
      const { createWebhook } = await mutate<webhooksAddMutation>(environment, ADD, variables)
      setPath(createWebhook.path ?? refused(createWebhook))
      setName('')
      setInput('')
    } catch (reason) {
      setError((reason as Error).message)
    }
  }
  return (
    <section className="panel" aria-label="Webhooks">
      {path && <NewPath path={path} />}
      {error && (
        <p role="alert" className="danger" style={{ padding: '0 12px' }}>
          {error}
        </p>
      )}
      {flow.webhooks.length ? (
        <div className="scroll-x">
          <table className="plain">
            <thead>
              <tr>
                <th>Webhook</th>
                <th>Token</th>
                <th>Signature</th>
                <th>Created</th>
                <th>What next</th>
              </tr>
            </thead>
            <tbody>
              {flow.webhooks.map((webhook) => (
                <tr key={webhook.id}>
                  <td>
                    <b>{webhook.name}</b>
                  </td>
                  <td>
                    <code className="mono">{webhook.hint}…</code>
                  </td>
                  <td>{webhook.signatureHeader ?? <span className="dim">not signed</span>}</td>
                  <td className="dim nowrap">
                    <Time at={webhook.createdAt} />
                  </td>
                  <td>
                    <Link to="/" search={{ webhookIds: [webhook.id] }}>
                      Runs
                    </Link>
                  </td>
                </tr>
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
          <span className="dim">By default the request is the input.</span>
          <Button type="submit">Add a webhook</Button>
        </form>
      )}
    </section>
  )
}

/** The address of a new webhook, which is shown this once, as a command to paste. */
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
