import { useEffect, useMemo, useState } from 'react'
import { Button, Progress, SegmentedControl } from '@mantine/core'
import '@mantine/core/styles/Progress.layer.css'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment, useSubscription } from 'react-relay/hooks'
import type { operationPageQuery } from '../__generated__/operationPageQuery.graphql'
import type { operationPageSubscription } from '../__generated__/operationPageSubscription.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { readAgain } from '../shared/read-again'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { useTitle } from '../shared/title'
import { useMayOperate } from '../shared/viewer'
import { BULK_WORDS, nameOf } from './kinds'
import { Outcomes } from './outcomes'
import { retryFailed, stopOperation, undoArchive } from './requests'

const QUERY = graphql`
  query operationPageQuery($id: ID!, $result: [BulkResult!]) {
    bulkOperation(id: $id) {
      id
      kind
      status
      strategy
      requestedBy {
        name
      }
      maxPerSecond
      matched
      processed
      succeeded
      skipped
      failed
      createdAt
      finishedAt
      reasons {
        reason
        count
      }
      ...outcomes_operation
    }
  }
`

const SUBSCRIPTION = graphql`
  subscription operationPageSubscription($id: ID!, $after: String) {
    bulkOperationProgressed(id: $id, after: $after) {
      cursor
      operation {
        id
        status
        matched
        processed
        succeeded
        skipped
        failed
        finishedAt
        reasons {
          reason
          count
        }
      }
    }
  }
`

type ResultFilter = 'ALL' | 'SUCCEEDED' | 'SKIPPED' | 'FAILED' | 'PENDING'

/** One bulk operation: its progress, live, and the outcome of each run. */
export function OperationPage() {
  const { operationId } = useParams({ from: '/bulk/$operationId' })
  const [shown, setShown] = useState<ResultFilter>('ALL')
  const variables = useMemo(
    () => ({ id: operationId, result: shown === 'ALL' ? null : [shown] }),
    [operationId, shown],
  )
  const environment = useRelayEnvironment()
  const { bulkOperation: operation } = useLazyLoadQuery<operationPageQuery>(QUERY, variables, {
    fetchPolicy: 'store-and-network',
  })
  useSubscription<operationPageSubscription>(
    useMemo(
      () => ({ subscription: SUBSCRIPTION, variables: { id: operationId }, onError: () => {} }),
      [operationId],
    ),
  )
  useTitle(operation ? nameOf(operation) : 'No bulk operation')
  const finishedAt = operation?.finishedAt
  useEffect(() => {
    if (!finishedAt) return
    const request = readAgain<operationPageQuery>(environment, QUERY, variables).subscribe({ error: () => {} })
    return () => request.unsubscribe()
  }, [environment, variables, finishedAt])

  if (!operation)
    return (
      <main className="page">
        <div className="panel empty">
          <h1>There is no bulk operation with this ID</h1>
          <Link to="/bulk">All bulk operations</Link>
        </div>
      </main>
    )
  const { kind, status, matched, processed, succeeded, skipped, failed } = operation
  return (
    <main className="page">
      <div className="line">
        <h1>{nameOf(operation)}</h1>
        <span className="tag">{words(status)}</span>
        <span className="grow" />
        <Actions id={operation.id} kind={kind} status={status} failed={failed} succeeded={succeeded} />
      </div>
      <div className="line dim">
        <span>
          Requested by {operation.requestedBy.name} <Time at={operation.createdAt} />
        </span>
        {operation.strategy && <span>{words(operation.strategy)}</span>}
        {operation.maxPerSecond && <span>at most {operation.maxPerSecond} per second</span>}
      </div>
      <section className="panel" aria-label="Progress">
        <div className="body stack">
          <Progress.Root size="lg" aria-label="Progress">
            <Part label="succeeded" count={succeeded} of={matched} colour="var(--status-succeeded)" />
            <Part label="skipped" count={skipped} of={matched} colour="var(--status-queued)" />
            <Part label="failed" count={failed} of={matched} colour="var(--status-failed)" />
          </Progress.Root>
          <div className="line" role="status" style={{ gap: 18 }}>
            <b>
              {processed.toLocaleString()} of {matched.toLocaleString()}
            </b>
            <span>
              {succeeded.toLocaleString()} {BULK_WORDS[kind].done}
            </span>
            <span>{skipped.toLocaleString()} skipped</span>
            <span>{failed.toLocaleString()} failed</span>
            {operation.reasons.map(({ reason, count }) => (
              <span key={reason} className="tag">
                {count.toLocaleString()} {words(reason).toLowerCase()}
              </span>
            ))}
          </div>
        </div>
      </section>
      <section className="panel" aria-label="Outcomes">
        <header>
          <h2>Outcomes</h2>
          <span className="grow" />
          <SegmentedControl
            aria-label="Outcomes shown"
            value={shown}
            onChange={(value) => setShown(value as ResultFilter)}
            data={['ALL', 'SUCCEEDED', 'SKIPPED', 'FAILED', 'PENDING'].map((value) => ({ value, label: words(value) }))}
          />
          <OpenAsQuery document={QUERY} variables={variables} />
        </header>
        <Outcomes operation={operation} />
      </section>
    </main>
  )
}

type PartProps = { label: string; count: number; of: number; colour: string }

function Part({ label, count, of, colour }: PartProps) {
  return <Progress.Section value={of ? (100 * count) / of : 0} color={colour} aria-label={`Share ${label}`} />
}

type ActionsProps = { id: string; kind: string; status: string; failed: number; succeeded: number }

function Actions({ id, kind, status, failed, succeeded }: ActionsProps) {
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const mayOperate = useMayOperate()
  const [error, setError] = useState('')
  if (!mayOperate) return null
  const go = (work: Promise<string>) =>
    void work.then(
      (operationId) => navigate({ to: '/bulk/$operationId', params: { operationId } }),
      (reason: Error) => setError(reason.message),
    )
  const hasEnded = status === 'COMPLETED' || status === 'CANCELLED' || status === 'FAILED'
  return (
    <div className="line">
      {error && (
        <span role="alert" className="danger">
          {error}
        </span>
      )}
      {!hasEnded && (
        <Button variant="default" onClick={() => go(stopOperation(environment, id))}>
          Stop the operation
        </Button>
      )}
      {hasEnded && kind === 'RETRY' && failed > 0 && (
        <Button onClick={() => go(retryFailed(environment, id))}>Retry the failed only</Button>
      )}
      {hasEnded && kind === 'ARCHIVE' && succeeded > 0 && (
        <Button variant="default" onClick={() => go(undoArchive(environment, id))}>
          Undo
        </Button>
      )}
    </div>
  )
}
