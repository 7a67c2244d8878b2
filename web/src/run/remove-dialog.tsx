import { Suspense, useMemo } from 'react'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { removeDialogQuery } from '../__generated__/removeDialogQuery.graphql'
import { Confirm } from '../shared/confirm'
import { remove, type Removal } from './remove-requests'

const QUERY = graphql`
  query removeDialogQuery($children: FlowRunFilter!, $retries: FlowRunFilter!) {
    children: flowRuns(filter: $children, first: 0) {
      totalCount(limit: 1000)
    }
    retries: flowRuns(filter: $retries, first: 0) {
      totalCount(limit: 1000)
    }
  }
`

const COUNTED = 1_000

const WORDS = {
  ERASE: {
    title: 'Erase this run?',
    action: 'Erase the run',
    done: 'erased',
    goes: [
      'Its input, output, metadata, tags and note go, and the messages of its errors.',
      'The inputs and outputs of its steps, questions and answers, log and files go.',
      'It cannot be retried from a step any more.',
    ],
    stays: ['The run stays, with its IDs, status, times, names of steps and who did what. Counts stay as they are.'],
  },
  DELETE: {
    title: 'Delete this run?',
    action: 'Delete the run',
    done: 'deleted',
    goes: ['The run goes, with its steps, data, log, files, questions and deliveries.', 'Statistics no longer count it.'],
    stays: ['The audit log and the outcomes of bulk operations keep its ID.'],
  },
} as const

type Props = { kind: Removal; runId: string; flow: string; onClose: () => void }

/** Erases or deletes a run, after it was said what goes and what stays, and shows the result once the service has it. */
export default function RemoveDialog({ kind, runId, flow, onClose }: Props) {
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const { title, action, done } = WORDS[kind]
  const confirm = async () => {
    const operationId = await remove(environment, kind, runId)
    if (operationId) await navigate({ to: '/bulk/$operationId', params: { operationId } })
    else if (kind === 'DELETE') await navigate({ to: '/', state: { notice: `The run ${runId} of ${flow} was ${done}.` } })
  }
  return (
    <Confirm title={title} action={action} onConfirm={confirm} onClose={onClose}>
      <Suspense fallback={<p className="dim">Asking which runs go with it…</p>}>
        <Consequences kind={kind} runId={runId} />
      </Suspense>
    </Confirm>
  )
}

function Consequences({ kind, runId }: Pick<Props, 'kind' | 'runId'>) {
  const variables = useMemo(
    () =>
      ({
        children: { parentRunId: runId, archived: 'INCLUDE' },
        retries: { retryOfId: runId, archived: 'INCLUDE' },
      }) as const,
    [runId],
  )
  const { children, retries } = useLazyLoadQuery<removeDialogQuery>(QUERY, variables, { fetchPolicy: 'network-only' })
  const { done, goes, stays } = WORDS[kind]
  return (
    <>
      <ul className="consequences" aria-label="What goes">
        {goes.map((text) => (
          <li key={text}>{text}</li>
        ))}
        {children.totalCount > 0 && (
          <li>
            {counted(children.totalCount, 'child run', 'child runs')}, with the runs below, {verb(children.totalCount)}{' '}
            {done} too.
          </li>
        )}
        <li>This cannot be undone. Files leave the store within about ten minutes.</li>
      </ul>
      <ul className="consequences" aria-label="What stays">
        {stays.map((text) => (
          <li key={text}>{text}</li>
        ))}
        {retries.totalCount > 0 && (
          <li>
            {counted(retries.totalCount, 'retry stays as it is', 'retries stay as they are')}: each is a run of its own.
          </li>
        )}
      </ul>
    </>
  )
}

function counted(count: number, one: string, several: string): string {
  return `${count.toLocaleString()}${count >= COUNTED ? ' or more' : ''} ${count === 1 ? one : several}`
}

function verb(count: number): string {
  return count === 1 ? 'is' : 'are'
}
