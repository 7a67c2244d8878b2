import { useState, type SubmitEvent } from 'react'
import { Button, TextInput, type TextInputProps } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { webhooks_flow$data } from '../__generated__/webhooks_flow.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { Confirm } from '../shared/confirm'
import { RowButton } from '../shared/row-button'
import { Time } from '../shared/time'
import { useMayAdminister } from '../shared/viewer'
import { deleteWebhook, limitWebhook, rotateWebhook } from './webhook-requests'

type Webhook = webhooks_flow$data['webhooks'][number]

const QUESTIONS = {
  rotate: {
    title: 'Give a new URL to',
    action: 'Rotate the token',
    consequence: 'The present URL answers 404 at once. The new one is shown once.',
  },
  delete: {
    title: 'Delete',
    action: 'Delete the webhook',
    consequence: 'Its URL answers 404 at once. Runs that it started remain.',
  },
} as const

type Props = { webhook: Webhook; flowId: string; onPath: (path: string) => void }

/** One webhook, with its limit and what can be done with it. */
export function WebhookRow({ webhook, flowId, onPath }: Props) {
  const environment = useRelayEnvironment()
  const mayAdminister = useMayAdminister()
  const [question, setQuestion] = useState<keyof typeof QUESTIONS | null>(null)
  const { id, name } = webhook
  const answers = {
    rotate: async () => onPath(await rotateWebhook(environment, id)),
    delete: () => deleteWebhook(environment, flowId, id),
  }
  return (
    <tr>
      <td>
        <b>{name}</b>
      </td>
      <td>
        <code className="mono">{webhook.hint}…</code>
        {webhook.rotatedAt && (
          <div className="dim nowrap">
            since <Time at={webhook.rotatedAt} />
          </div>
        )}
      </td>
      <td>{webhook.signatureHeader ?? <span className="dim">not signed</span>}</td>
      <td>
        {mayAdminister ? <Limit webhook={webhook} /> : (webhook.callsPerMinute ?? <span className="dim">default</span>)}
      </td>
      <td className="dim nowrap">
        <Time at={webhook.createdAt} />
      </td>
      <td>
        <div className="line">
          <Link to="/" search={{ webhookIds: [id] }}>
            Runs
          </Link>
          {mayAdminister && <RowButton label="Rotate" of={name} onClick={() => setQuestion('rotate')} />}
          {mayAdminister && <RowButton label="Delete" of={name} onClick={() => setQuestion('delete')} />}
        </div>
        {question && (
          <Confirm
            title={`${QUESTIONS[question].title} ${name}?`}
            action={QUESTIONS[question].action}
            onConfirm={answers[question]}
            onClose={() => setQuestion(null)}
          >
            <p>{QUESTIONS[question].consequence}</p>
          </Confirm>
        )}
      </td>
    </tr>
  )
}

/** The calls that a webhook accepts in a minute, to be changed. */
function Limit({ webhook }: { webhook: Webhook }) {
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const current = String(webhook.callsPerMinute ?? '')
  const [text, setText] = useState(current)
  const save = (event: SubmitEvent) => {
    event.preventDefault()
    void attempt(() => limitWebhook(environment, webhook.id, text))
  }
  return (
    <form className="line" onSubmit={save}>
      <CallsField
        aria-label={`Calls a minute: ${webhook.name}`}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {text !== current && (
        <Button type="submit" size="compact-xs" loading={isBusy}>
          Save
        </Button>
      )}
      <Failure error={error} />
    </form>
  )
}

/** The field of a limit; empty, the service's default holds. */
export function CallsField(props: TextInputProps) {
  return <TextInput type="number" min={1} placeholder="default" w={110} {...props} />
}
