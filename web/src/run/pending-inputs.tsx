import { lazy, Suspense, useState } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { pendingInputs_run$data, pendingInputs_run$key } from '../__generated__/pendingInputs_run.graphql'
import { respond } from '../shared/respond'
import { Time } from '../shared/time'
import { useMayOperate } from '../shared/viewer'

const SchemaForm = lazy(() => import('../shared/schema-form'))

const FRAGMENT = graphql`
  fragment pendingInputs_run on FlowRun
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    pendingInputs @include(if: $payloads) {
      id
      stepName
      title
      description
      schema
      assignee
      createdAt
      expiresAt
    }
  }
`

/** The questions that the run waits for, each with its form. */
export function PendingInputs({ run: key }: { run: pendingInputs_run$key }) {
  const run = useFragment(FRAGMENT, key)
  return run.pendingInputs?.map((request) => <Question key={request.id} runId={run.id} request={request} />)
}

type Props = { runId: string; request: NonNullable<pendingInputs_run$data['pendingInputs']>[number] }

function Question({ runId, request }: Props) {
  const environment = useRelayEnvironment()
  const [error, setError] = useState('')
  const mayOperate = useMayOperate()
  const answer = (response: unknown) => {
    setError('')
    return respond(environment, runId, request.id, response).catch((reason: Error) => setError(reason.message))
  }
  return (
    <section className="panel question" aria-label={request.title}>
      <header>
        <h2>{request.title}</h2>
        <span className="grow" />
        <span className="dim">
          {request.assignee && `for ${request.assignee}, `}asked <Time at={request.createdAt} />
          {request.expiresAt && (
            <>
              , expires <Time at={request.expiresAt} />
            </>
          )}
        </span>
        <Link to="/inbox" search={{ request: request.id }}>
          In the inbox
        </Link>
      </header>
      <div className="body stack">
        {request.description && <p className="prose">{request.description}</p>}
        {error && (
          <span role="alert" className="danger">
            {error}
          </span>
        )}
        {mayOperate ? (
          <Suspense>
            <SchemaForm schema={request.schema} label="Your answer" submitLabel="Respond" onSubmit={answer} />
          </Suspense>
        ) : (
          <p className="dim">Responding needs a key with the role operator.</p>
        )}
      </div>
    </section>
  )
}
