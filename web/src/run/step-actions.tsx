import { lazy, Suspense, useState } from 'react'
import { Button } from '@mantine/core'
import { useMayOperate } from '../shared/viewer'

const CompleteDialog = lazy(() => import('./complete-dialog'))
const StartDialog = lazy(() => import('./start-dialog'))

type Props = {
  runId: string
  stepName: string
  /** True if the run succeeded: it can be run again, not retried. */
  hasSucceeded: boolean
  /** True if the run ended at this step. */
  isFailedStep: boolean
}

/** What can be done with a step of a run that has ended. */
export function StepActions({ runId, stepName, hasSucceeded, isFailedStep }: Props) {
  const [dialog, setDialog] = useState<'start' | 'complete' | null>(null)
  if (!useMayOperate()) return null
  const close = () => setDialog(null)
  return (
    <div className="line">
      <Button variant="default" size="compact-xs" onClick={() => setDialog('start')}>
        {hasSucceeded ? 'Run again from this step' : 'Retry from this step'}
      </Button>
      {isFailedStep && (
        <Button variant="default" size="compact-xs" onClick={() => setDialog('complete')}>
          Complete by hand
        </Button>
      )}
      <Suspense>
        {dialog === 'start' && (
          <StartDialog
            runId={runId}
            stepName={stepName}
            initial={hasSucceeded ? 'RERUN_FROM_STEP' : 'FROM_STEP'}
            onClose={close}
          />
        )}
        {dialog === 'complete' && <CompleteDialog runId={runId} stepName={stepName} onClose={close} />}
      </Suspense>
    </div>
  )
}
