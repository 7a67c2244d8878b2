import { useEffect, useRef } from 'react'
import { Button } from '@mantine/core'
import { graphql, useFragment } from 'react-relay/hooks'
import type { outcome_request$key } from '../__generated__/outcome_request.graphql'
import { JsonView } from '../shared/json-view'
import { Time } from '../shared/time'

const FRAGMENT = graphql`
  fragment outcome_request on InputRequest {
    status
    expiresAt
    answer
    answeredAt
    answeredBy {
      kind
      name
    }
  }
`

/** By which way an answer came. */
const WAYS: Record<string, string> = { ANSWER_LINK: 'by a link', API_KEY: 'with an API key', USER: 'signed in' }

type Props = { request: outcome_request$key; onNext: (() => void) | undefined }

/** What became of a question: the answer, by whom and when, or why there is none; and the way to the next one. */
export function Outcome({ request: key, onNext }: Props) {
  const { status, expiresAt, answer, answeredAt, answeredBy } = useFragment(FRAGMENT, key)
  const next = useRef<HTMLButtonElement>(null)
  useEffect(() => next.current?.focus(), [])
  return (
    <div className="stack" role="status" aria-label="Outcome">
      {status === 'ANSWERED' && (
        <>
          <span>
            Answered by <b>{answeredBy?.name ?? 'a person without a name'}</b>
            {answeredBy && WAYS[answeredBy.kind] && `, ${WAYS[answeredBy.kind]}`}
            {answeredAt && (
              <>
                , <Time at={answeredAt} />
              </>
            )}
          </span>
          <JsonView value={answer} label="Answer" />
        </>
      )}
      {status === 'EXPIRED' && (
        <span>
          Expired without an answer{expiresAt && <>, <Time at={expiresAt} /></>}.
        </span>
      )}
      {status === 'CANCELLED' && <span>The run ended before an answer came.</span>}
      {onNext && (
        <div>
          <Button ref={next} variant="default" onClick={onNext}>
            Next question
          </Button>
        </div>
      )}
    </div>
  )
}
