import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { runHeader_run$key } from '../__generated__/runHeader_run.graphql'
import { CompareWith } from '../compare/compare-with'
import { CopyableId } from '../shared/copy'
import { Status, words } from '../shared/status'
import { Elapsed, Time } from '../shared/time'
import { Waiting } from '../shared/wait'
import { RunActions } from './run-actions'

const FRAGMENT = graphql`
  fragment runHeader_run on FlowRun
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    summary @include(if: $payloads)
    waitingFor {
      kind
      until
      position
    }
    status
    environment
    triggerMethod
    tags
    externalId
    note
    source
    attempt
    createdAt
    startedAt
    finishedAt
    archivedAt
    erasedAt
    error {
      code
      message
      stepName
      fingerprint
    }
    recoveredBy {
      id
    }
    flow {
      id
      name
    }
    flowVersion {
      number
    }
    ...runActions_run
    ...compareWith_run
  }
`

export function RunHeader({ run: key }: { run: runHeader_run$key }) {
  const run = useFragment(FRAGMENT, key)
  return (
    <div className="stack" style={{ gap: 8 }}>
      <div className="line">
        <h1>
          <Link to="/flows/$flowId" params={{ flowId: run.flow.id }} className="run-flow">
            {run.flow.name}
          </Link>
        </h1>
        <Status status={run.status} />
        {run.waitingFor && <Waiting waitingFor={run.waitingFor} />}
        {run.archivedAt && <span className="tag">archived</span>}
        {run.erasedAt && <span className="tag">erased</span>}
        {run.environment === 'TESTING' && <span className="tag">testing</span>}
        {run.recoveredBy && (
          <Link to="/runs/$runId" params={{ runId: run.recoveredBy.id }} className="tag">
            recovered by a retry
          </Link>
        )}
        <span className="grow" />
        <CompareWith run={run} />
        <RunActions run={run} />
      </div>
      {run.summary && <p className="run-summary">{run.summary}</p>}
      <div className="line run-facts">
        <CopyableId id={run.id} />
        <span>Version {run.flowVersion.number}</span>
        <span>{words(run.triggerMethod)}</span>
        {run.attempt > 1 && <span>Retry {run.attempt - 1}</span>}
        <span>
          Created <Time at={run.createdAt} format="full" />
        </span>
        <span>
          Took <Elapsed from={run.startedAt} to={run.finishedAt} />
        </span>
        {run.erasedAt && (
          <span>
            Erased <Time at={run.erasedAt} format="full" />
          </span>
        )}
        {run.externalId && <span>External ID {run.externalId}</span>}
        {run.tags.map((tag) => (
          <Link key={tag} to="/" search={{ tags: [tag] }} className="tag">
            {tag}
          </Link>
        ))}
      </div>
      {run.note && (
        <p className="note run-note" role="note" aria-label="Note">
          {run.note}
        </p>
      )}
      {run.error && (
        <div className="run-error" role="note" aria-label="Error">
          <b>{run.error.code}</b>
          <span className="grow">
            {run.error.stepName && <b>{run.error.stepName}: </b>}
            {run.error.message}
          </span>
          {run.error.fingerprint && (
            <Link to="/" search={{ errorFingerprint: run.error.fingerprint }} className="nowrap">
              Runs with this error
            </Link>
          )}
        </div>
      )}
    </div>
  )
}
