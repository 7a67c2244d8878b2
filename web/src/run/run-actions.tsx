import { lazy, Suspense, useState } from 'react'
import { Button, Menu } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { runActions_run$key } from '../__generated__/runActions_run.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { steps } from '../shared/count'
import { isLive } from '../shared/status'
import { useMayAdminister, useMayOperate } from '../shared/viewer'
import type { Removal } from './remove-requests'
import { archive, unarchive } from './requests-run'
import { retry } from './start-requests'

const CancelDialog = lazy(() => import('./cancel-dialog'))
const EditDialog = lazy(() => import('./edit-dialog'))
const RemoveDialog = lazy(() => import('./remove-dialog'))
const StartDialog = lazy(() => import('./start-dialog'))

const FRAGMENT = graphql`
  fragment runActions_run on FlowRun {
    id
    status
    archivedAt
    erasedAt
    flow {
      name
    }
    failedStepName
    steps {
      name
    }
    retryability {
      strategy
      allowed
      message
      reusedSteps
      rerunSteps
      reusedItems
      rerunItems
    }
    ...editDialog_run
  }
`

/** Without FROM_STEP, which needs a step: the dialog and the panel of a step offer it. */
const LABELS = {
  FROM_FAILED_STEP: 'From the failed step',
  FROM_FAILED_STEP_ON_LATEST_VERSION: 'From the failed step, on the latest version',
  ON_LATEST_VERSION: 'All steps, on the latest version',
} as const

/** What can be done with a run. Of each way of retrying it says what is kept, or why it is refused. */
export function RunActions({ run: key }: { run: runActions_run$key }) {
  const run = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const { error, attempt } = useAttempt()
  const [dialog, setDialog] = useState<'cancel' | 'edit' | 'retry' | 'rerun' | Removal | null>(null)
  const mayOperate = useMayOperate()
  const mayAdminister = useMayAdminister()
  if (!mayOperate) return null
  const retryBy = async (strategy: keyof typeof LABELS) => {
    const runId = await attempt(() => retry(environment, run.id, strategy))
    if (runId) await navigate({ to: '/runs/$runId', params: { runId } })
  }
  const live = isLive(run.status)
  const close = () => setDialog(null)
  return (
    <div className="line">
      <Failure error={error} />
      {!live && run.status !== 'SUCCEEDED' && (
        <Menu position="bottom-end" width={340} shadow="md">
          <Menu.Target>
            <Button>Retry</Button>
          </Menu.Target>
          <Menu.Dropdown>
            {run.retryability.map(
              ({ strategy, allowed, message, reusedSteps, rerunSteps, reusedItems, rerunItems }) =>
                isOffered(strategy) && (
                  <Menu.Item key={strategy} disabled={!allowed} onClick={() => void retryBy(strategy)}>
                    <b>{LABELS[strategy]}</b>
                    <div className="dim run-choice">
                      {allowed && `Keeps ${steps(reusedSteps)}, runs ${steps(rerunSteps)}. `}
                      {allowed && rerunItems != null && `Of the loop only the failed items run: ${rerunItems} of ${rerunItems + (reusedItems ?? 0)}. `}
                      {message}
                    </div>
                  </Menu.Item>
                ),
            )}
            <Menu.Divider />
            <Menu.Item onClick={() => setDialog('retry')}>
              <b>Other ways…</b>
              <div className="dim run-choice">From a chosen step, with another input, nevertheless</div>
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
      {!live && (
        <Button variant="default" onClick={() => setDialog('rerun')}>
          Run again
        </Button>
      )}
      {live && (
        <Button variant="default" onClick={() => setDialog('cancel')}>
          Cancel
        </Button>
      )}
      <Button variant="default" onClick={() => setDialog('edit')}>
        Edit
      </Button>
      {!live && (
        <Button
          variant="default"
          onClick={() => void attempt(() => (run.archivedAt ? unarchive : archive)(environment, run.id))}
        >
          {run.archivedAt ? 'Unarchive' : 'Archive'}
        </Button>
      )}
      {!live && mayAdminister && (
        <>
          {!run.erasedAt && (
            <Button variant="default" onClick={() => setDialog('ERASE')}>
              Erase
            </Button>
          )}
          <Button variant="default" onClick={() => setDialog('DELETE')}>
            Delete
          </Button>
        </>
      )}
      <Suspense>
        {dialog === 'cancel' && <CancelDialog runId={run.id} onClose={close} />}
        {dialog === 'edit' && <EditDialog run={run} onClose={close} />}
        {(dialog === 'ERASE' || dialog === 'DELETE') && (
          <RemoveDialog kind={dialog} runId={run.id} flow={run.flow.name} onClose={close} />
        )}
        {(dialog === 'retry' || dialog === 'rerun') && (
          <StartDialog
            runId={run.id}
            stepName={run.failedStepName ?? run.steps[0]?.name}
            initial={dialog === 'retry' ? 'FROM_FAILED_STEP' : 'RERUN_ALL'}
            onClose={close}
          />
        )}
      </Suspense>
    </div>
  )
}

function isOffered(strategy: string): strategy is keyof typeof LABELS {
  return strategy in LABELS
}
