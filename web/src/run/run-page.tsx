import { useCallback, useMemo } from 'react'
import { useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { runPageQuery } from '../__generated__/runPageQuery.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { useTitle } from '../shared/title'
import { useViewer } from '../shared/viewer'
import { Lineage } from './lineage'
import { Logs } from './logs'
import { PendingInputs } from './pending-inputs'
import { RunHeader } from './run-header'
import { StatusHistory } from './status-history'
import { StepPanel } from './step-panel'
import { useLiveRun } from './use-live-run'
import { Waterfall } from './waterfall'
import './run.css'

const QUERY = graphql`
  query runPageQuery($id: ID!) {
    flowRun(id: $id) {
      id
      status
      flow {
        name
      }
      failedStepName
      ...runHeader_run
      ...waterfall_run
      ...stepPanel_run
      ...pendingInputs_run
      ...statusHistory_run
      ...lineage_run
    }
  }
`

/** One run: what its steps did and when, their data, its log, and what can be done with it. */
export function RunPage() {
  const { runId } = useParams({ from: '/runs/$runId' })
  const search = useSearch({ from: '/runs/$runId' })
  const navigate = useNavigate({ from: '/runs/$runId' })
  const variables = useMemo(() => ({ id: runId }), [runId])
  const { flowRun } = useLazyLoadQuery<runPageQuery>(QUERY, variables, { fetchPolicy: 'store-or-network' })
  const lines = useLiveRun(QUERY, runId)
  const { payloads } = useViewer()
  useTitle(flowRun ? `${flowRun.flow.name}, ${words(flowRun.status).toLowerCase()}` : 'No run')
  const select = useCallback(
    (step: string | undefined) => void navigate({ search: (old) => ({ ...old, step }), replace: true }),
    [navigate],
  )
  if (!flowRun)
    return (
      <main className="page">
        <div className="panel empty">
          <h1>There is no run with this ID</h1>
          <span>It was deleted, or the key that signed in cannot see it.</span>
        </div>
      </main>
    )
  const step = search.step ?? flowRun.failedStepName ?? undefined
  return (
    <main className="page">
      <RunHeader run={flowRun} />
      <PendingInputs run={flowRun} />
      <div className="run-columns">
        <div className="stack">
          <Waterfall run={flowRun} step={step} onSelect={select} />
          {payloads && <Logs runId={runId} status={flowRun.status} appended={lines} />}
        </div>
        <div className="stack">
          <StepPanel run={flowRun} step={step} onSelect={select} />
          <StatusHistory run={flowRun} />
          <Lineage run={flowRun} />
          <div>
            <OpenAsQuery document={QUERY} variables={variables} />
          </div>
        </div>
      </div>
    </main>
  )
}
