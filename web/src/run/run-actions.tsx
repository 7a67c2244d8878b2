import { useState } from 'react'
import { Button, Menu, Modal } from '@mantine/core'
import '@mantine/core/styles/Overlay.layer.css'
import '@mantine/core/styles/ModalBase.layer.css'
import '@mantine/core/styles/Modal.layer.css'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { runActions_run$key } from '../__generated__/runActions_run.graphql'
import { isLive } from '../shared/status'
import { useMayOperate } from '../shared/viewer'
import { archive, cancel, retry, unarchive } from './requests-run'

const FRAGMENT = graphql`
  fragment runActions_run on FlowRun {
    id
    status
    archivedAt
    retryability {
      strategy
      allowed
      reason
      message
      reusedSteps
      rerunSteps
    }
  }
`

/** Without FROM_STEP, which needs a step: the panel of a step offers it. */
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
  const [error, setError] = useState('')
  const [isAsking, setAsking] = useState(false)
  const mayOperate = useMayOperate()
  if (!mayOperate) return null
  const attempt = (work: Promise<unknown>) => {
    setError('')
    work.catch((reason: Error) => setError(reason.message))
  }
  const retryBy = async (strategy: keyof typeof LABELS) => {
    const runId = await retry(environment, run.id, strategy)
    await navigate({ to: '/runs/$runId', params: { runId } })
  }
  const live = isLive(run.status)
  return (
    <div className="line">
      {error && (
        <span role="alert" className="danger">
          {error}
        </span>
      )}
      {!live && run.status !== 'SUCCEEDED' && (
        <Menu position="bottom-end" width={340} shadow="md">
          <Menu.Target>
            <Button>Retry</Button>
          </Menu.Target>
          <Menu.Dropdown>
            {run.retryability.map(
              ({ strategy, allowed, message, reusedSteps, rerunSteps }) =>
                isOffered(strategy) && (
                  <Menu.Item key={strategy} disabled={!allowed} onClick={() => attempt(retryBy(strategy))}>
                    <b>{LABELS[strategy]}</b>
                    <div className="dim run-choice">
                      {allowed && `Keeps ${steps(reusedSteps)}, runs ${steps(rerunSteps)}. `}
                      {message}
                    </div>
                  </Menu.Item>
                ),
            )}
          </Menu.Dropdown>
        </Menu>
      )}
      {live && (
        <Button variant="default" onClick={() => setAsking(true)}>
          Cancel
        </Button>
      )}
      {!live && (
        <Button
          variant="default"
          onClick={() => attempt(run.archivedAt ? unarchive(environment, run.id) : archive(environment, run.id))}
        >
          {run.archivedAt ? 'Unarchive' : 'Archive'}
        </Button>
      )}
      <Modal opened={isAsking} onClose={() => setAsking(false)} title="Cancel this run?">
        <p style={{ marginTop: 0 }}>
          The run and its live child runs end as stopped. Steps that are being executed are aborted.
        </p>
        <div className="line">
          <Button
            color="red"
            onClick={() => {
              setAsking(false)
              attempt(cancel(environment, run.id))
            }}
          >
            Cancel the run
          </Button>
          <Button variant="default" onClick={() => setAsking(false)}>
            Let it go on
          </Button>
        </div>
      </Modal>
    </div>
  )
}

function isOffered(strategy: string): strategy is keyof typeof LABELS {
  return strategy in LABELS
}

function steps(count: number): string {
  return count === 1 ? '1 step' : `${count} steps`
}
