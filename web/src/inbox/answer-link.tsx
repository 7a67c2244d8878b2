import { useState, type SubmitEvent } from 'react'
import { Button, NativeSelect, TextInput } from '@mantine/core'
import { graphql, useRelayEnvironment } from 'react-relay/hooks'
import type { answerLinkMutation } from '../__generated__/answerLinkMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { BASE_PATH } from '../shared/base-path'
import { CopyButton } from '../shared/copy'
import { mutate, refused } from '../shared/mutate'
import { Time } from '../shared/time'

const CREATE = graphql`
  mutation answerLinkMutation($requestId: ID!, $expiresIn: String!, $recipient: String) {
    createAnswerLink(requestId: $requestId, expiresIn: $expiresIn, recipient: $recipient) {
      ... on CreateAnswerLinkSuccess {
        path
        expiresAt
      }
      ... on UserError {
        message
      }
    }
  }
`

const LIFETIMES = [
  { value: 'PT1H', label: '1 hour' },
  { value: 'P1D', label: '1 day' },
  { value: 'P7D', label: '7 days' },
  { value: 'P30D', label: '30 days' },
]

/** Makes a link by which a person without a key answers a question, once. */
export function AnswerLink({ requestId }: { requestId: string }) {
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const [link, setLink] = useState<{ url: string; expiresAt: string } | null>(null)
  const create = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const recipient = (form.get('recipient') as string).trim() || null
    const expiresIn = form.get('expiresIn') as string
    const made = await attempt(async () => {
      const variables = { requestId, expiresIn, recipient }
      const { createAnswerLink } = await mutate<answerLinkMutation>(environment, CREATE, variables)
      const { path, expiresAt } = createAnswerLink
      return path && expiresAt ? { url: location.origin + BASE_PATH + path, expiresAt } : refused(createAnswerLink)
    })
    if (made) setLink(made)
  }
  return (
    <details className="answer-link">
      <summary>Let a person without a key answer</summary>
      <form className="stack" onSubmit={(event) => void create(event)}>
        <span className="dim">Everybody who has the link can answer, once. Its creation is in the audit log.</span>
        <div className="inbox-filters">
          <TextInput
            label="Name of the recipient"
            placeholder="ada@example.com"
            name="recipient"
            maxLength={200}
          />
          <NativeSelect
            label="The link expires after"
            name="expiresIn"
            data={LIFETIMES}
            defaultValue="P1D"
          />
          <Button type="submit" variant="default" loading={isBusy}>
            Create an answer link
          </Button>
        </div>
        <Failure error={error} />
        {link && (
          <div className="line" role="status" aria-label="Answer link">
            <code className="mono prose">{link.url}</code>
            <CopyButton text={link.url} label="Copy the answer link" />
            <span className="dim">
              expires <Time at={link.expiresAt} />
            </span>
          </div>
        )}
      </form>
    </details>
  )
}
