import { Suspense, useMemo, useState, type SubmitEvent } from 'react'
import { Button, Modal, TextInput } from '@mantine/core'
import '../shared/modal.css'
import { Link, useNavigate } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { compareDialogQuery } from '../__generated__/compareDialogQuery.graphql'
import { RUN_ID } from '../shared/run-id'
import { duration, Time } from '../shared/time'
import './compare.css'

const QUERY = graphql`
  query compareDialogQuery($filter: FlowRunFilter!) {
    flowRuns(filter: $filter, first: 5) {
      nodes {
        id
        createdAt
        durationMs
        flowVersion {
          number
        }
      }
    }
  }
`

type Props = { runId: string; flowId: string; onClose: () => void }

/** Chooses the run with which a run is compared: a successful one of the flow, or any by its ID. */
export default function CompareDialog({ runId, flowId, onClose }: Props) {
  const [other, setOther] = useState('')
  const navigate = useNavigate()
  const id = other.trim()
  const isWrong = id !== '' && !RUN_ID.test(id)
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    if (id && !isWrong) void navigate({ to: '/compare', search: { left: id, right: runId } })
  }
  return (
    <Modal opened onClose={onClose} title="Compare this run with…">
      <div className="stack">
        <Suspense fallback={<p className="dim">Loading the successful runs of the flow…</p>}>
          <SuccessfulRuns runId={runId} flowId={flowId} />
        </Suspense>
        <form onSubmit={submit} className="line" style={{ alignItems: 'start' }}>
          <TextInput
            label="ID of another run"
            placeholder="run_…"
            className="grow"
            value={other}
            onChange={(event) => setOther(event.currentTarget.value)}
            error={isWrong && 'A run ID begins with run_ and has 32 hexadecimal digits.'}
          />
          <Button type="submit" disabled={!id || isWrong} mt={22}>
            Compare
          </Button>
        </form>
      </div>
    </Modal>
  )
}

function SuccessfulRuns({ runId, flowId }: Pick<Props, 'runId' | 'flowId'>) {
  const filter = useMemo(
    () => ({ flowIds: [flowId], statuses: ['SUCCEEDED'] as const, not: { ids: [runId] } }),
    [runId, flowId],
  )
  const { flowRuns } = useLazyLoadQuery<compareDialogQuery>(QUERY, { filter }, { fetchPolicy: 'store-and-network' })
  if (!flowRuns.nodes.length)
    return <p className="dim">No other run of this flow succeeded. Paste the ID of any run, such as a failed one.</p>
  return (
    <ul className="compare-choices" aria-label="Successful runs of the flow">
      {flowRuns.nodes.map((run, index) => (
        <li key={run.id}>
          <Link to="/compare" search={{ left: run.id, right: runId }}>
            {index ? 'Successful run' : 'Last successful run'}
          </Link>{' '}
          <span className="dim">
            <Time at={run.createdAt} />, version {run.flowVersion.number}
            {run.durationMs != null && `, took ${duration(run.durationMs)}`}
          </span>
        </li>
      ))}
    </ul>
  )
}
