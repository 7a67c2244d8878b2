import { lazy, Suspense, useMemo } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useLazyLoadQuery, useRelayEnvironment, useSubscription } from 'react-relay/hooks'
import type { requestPanel_request$data, requestPanel_request$key } from '../__generated__/requestPanel_request.graphql'
import type { requestPanelQuery } from '../__generated__/requestPanelQuery.graphql'
import type { requestPanelSubscription } from '../__generated__/requestPanelSubscription.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { CopyableId, CopyButton } from '../shared/copy'
import { respond } from '../shared/respond'
import { Time } from '../shared/time'
import { useMayOperate } from '../shared/viewer'
import { AnswerLink } from './answer-link'
import { Outcome } from './outcome'

const SchemaForm = lazy(() => import('../shared/schema-form'))

const QUERY = graphql`
  query requestPanelQuery($id: ID!) {
    node(id: $id) {
      ... on InputRequest @alias(as: "request") {
        ...requestPanel_request
      }
    }
  }
`

const FRAGMENT = graphql`
  fragment requestPanel_request on InputRequest {
    id
    status
    stepName
    title
    description
    schema
    assignee
    createdAt
    expiresAt
    run {
      id
      environment
      tags
    }
    flow {
      id
      name
    }
    ...outcome_request
  }
`

const SUBSCRIPTION = graphql`
  subscription requestPanelSubscription($ids: [ID!], $after: String) {
    inputRequestsChanged(filter: { ids: $ids }, after: $after) {
      ... on InputRequestChanged {
        cursor
        request {
          ...requestPanel_request
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`

type Props = { requestId: string; onNext: (() => void) | undefined }

/** One question: who asks, the form of its answer or the answer, and links for people without a key. */
export function RequestPanel({ requestId, onNext }: Props) {
  const { node } = useLazyLoadQuery<requestPanelQuery>(QUERY, { id: requestId }, { fetchPolicy: 'store-and-network' })
  useSubscription<requestPanelSubscription>(
    useMemo(
      () => ({ subscription: SUBSCRIPTION, variables: { ids: [requestId] }, onError: () => {} }),
      [requestId],
    ),
  )
  const request = useFragment<requestPanel_request$key>(FRAGMENT, node?.request ?? null)
  if (!request)
    return (
      <div className="panel empty">
        <strong>There is no question with this ID</strong>
        <span>Its run was deleted, or the key that signed in cannot see it.</span>
      </div>
    )
  return <Question request={request} onNext={onNext} />
}

function Question({ request, onNext }: { request: requestPanel_request$data; onNext: (() => void) | undefined }) {
  const environment = useRelayEnvironment()
  const mayOperate = useMayOperate()
  const { error, attempt } = useAttempt()
  const answer = async (response: unknown) => {
    await attempt(() => respond(environment, request.run.id, request.id, response))
  }
  const isPending = request.status === 'PENDING'
  return (
    <section className="panel question" aria-label={request.title}>
      <header>
        <h2>{request.title}</h2>
        <span className="grow" />
        <CopyButton text={location.href} label="Copy the link to this question" />
      </header>
      <div className="body stack">
        <div className="line dim">
          <Link to="/runs/$runId" params={{ runId: request.run.id }} search={{ step: request.stepName }}>
            {request.flow.name}, step {request.stepName}
          </Link>
          {request.run.environment === 'TESTING' && <span className="tag">testing</span>}
          {request.run.tags.map((tag) => (
            <span key={tag} className="tag">
              {tag}
            </span>
          ))}
          {request.assignee && <span>for {request.assignee}</span>}
          <span>
            asked <Time at={request.createdAt} />
          </span>
          {isPending && request.expiresAt && (
            <span>
              expires <Time at={request.expiresAt} />
            </span>
          )}
        </div>
        <CopyableId id={request.id} />
        {request.description && <p className="prose">{request.description}</p>}
        <Failure error={error} />
        {!isPending && <Outcome request={request} onNext={onNext} />}
        {isPending && mayOperate && (
          <>
            <Suspense>
              <SchemaForm schema={request.schema} label="Your answer" submitLabel="Respond" isFocused onSubmit={answer} />
            </Suspense>
            <AnswerLink requestId={request.id} />
          </>
        )}
        {isPending && !mayOperate && <p className="dim">Responding needs a key with the role operator.</p>}
      </div>
    </section>
  )
}
