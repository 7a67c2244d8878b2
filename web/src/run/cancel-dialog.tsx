import { Suspense, useMemo } from 'react'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { cancelDialogQuery } from '../__generated__/cancelDialogQuery.graphql'
import { Confirm } from '../shared/confirm'
import { isLive } from '../shared/status'
import { cancel } from './requests-run'

const QUERY = graphql`
  query cancelDialogQuery($id: ID!, $children: FlowRunFilter!) {
    flowRun(id: $id) {
      steps {
        name
        status
      }
      pendingInputs {
        id
        title
      }
    }
    flowRuns(filter: $children, first: 0) {
      totalCount(limit: 1000)
    }
  }
`

const COUNTED = 1_000

type Props = { runId: string; onClose: () => void }

/** Cancels a run, after it was said what that ends. */
export default function CancelDialog({ runId, onClose }: Props) {
  const environment = useRelayEnvironment()
  return (
    <Confirm
      title="Cancel this run?"
      action="Cancel the run"
      onConfirm={() => cancel(environment, runId)}
      onClose={onClose}
    >
      <Suspense fallback={<p className="dim">Asking what that would end…</p>}>
        <Consequences runId={runId} />
      </Suspense>
    </Confirm>
  )
}

function Consequences({ runId }: { runId: string }) {
  const variables = useMemo(
    () => ({
      id: runId,
      children: { parentRunId: runId, statuses: ['QUEUED', 'RUNNING', 'PAUSED'], archived: 'INCLUDE' } as const,
    }),
    [runId],
  )
  const { flowRun, flowRuns } = useLazyLoadQuery<cancelDialogQuery>(QUERY, variables, { fetchPolicy: 'network-only' })
  const executing = flowRun?.steps.filter(({ status }) => isLive(status)) ?? []
  const children = flowRuns.totalCount
  return (
    <ul className="consequences" aria-label="What happens">
      <li>The run ends as stopped. A cancelled run can be retried.</li>
      {executing.map(({ name }) => (
        <li key={name}>Step {name} is aborted.</li>
      ))}
      {flowRun?.pendingInputs.map(({ id, title }) => <li key={id}>The question “{title}” is withdrawn.</li>)}
      {children > 0 && (
        <li>
          {children.toLocaleString()}
          {children >= COUNTED && ' or more'} live child {children === 1 ? 'run ends' : 'runs end'} as stopped, with
          the runs below.
        </li>
      )}
    </ul>
  )
}
