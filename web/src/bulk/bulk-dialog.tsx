import { useState } from 'react'
import { Alert, Button, Modal, NumberInput, Radio } from '@mantine/core'
import '../shared/modal.css'
import '@mantine/core/styles/NumberInput.layer.css'
import '@mantine/core/styles/Radio.layer.css'
import '@mantine/core/styles/Alert.layer.css'
import { useNavigate } from '@tanstack/react-router'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { RetryStrategy } from '../__generated__/requestsRetryMutation.graphql'
import type { RunsFilter } from '../shared/filter'
import { BULK_WORDS, type BulkKind } from './kinds'
import { PlanSummary, type Plan } from './plan-summary'
import { executePlan, planOf } from './requests'

type Props = {
  kind: BulkKind
  filter: RunsFilter
  excludeIds: string[]
  onClose: () => void
  onDone: () => void
}

/** Changes many runs: first a dry run, whose result is shown; then exactly what it showed. */
export default function BulkDialog({ kind, filter, excludeIds, onClose, onDone }: Props) {
  const [strategy, setStrategy] = useState<RetryStrategy>('FROM_FAILED_STEP')
  const [pace, setPace] = useState<number | ''>('')
  const [plan, setPlan] = useState<Plan | null>(null)
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const { verb } = BULK_WORDS[kind]

  const request = async <T,>(work: () => Promise<T>): Promise<T | null> => {
    setBusy(true)
    setError('')
    try {
      return await work()
    } catch (reason) {
      setError((reason as Error).message)
      return null
    } finally {
      setBusy(false)
    }
  }
  const dryRun = async () =>
    setPlan(await request(() => planOf(environment, kind, { filter, excludeIds, strategy })))
  const execute = async (planId: string) => {
    const id = await request(() => executePlan(environment, kind, planId, pace === '' ? null : pace))
    if (!id) return
    onDone()
    void navigate({ to: '/bulk/$operationId', params: { operationId: id } })
  }

  return (
    <Modal opened onClose={onClose} title={`${verb} runs`} size="lg">
      <div className="stack">
        {kind === 'RETRY' && (
          <Radio.Group
            label="Where the retries start"
            value={strategy}
            onChange={(value) => {
              setStrategy(value)
              setPlan(null)
            }}
          >
            <div className="stack" style={{ gap: 6, marginTop: 6 }}>
              <Radio
                value="FROM_FAILED_STEP"
                label="From the failed step"
                description="The same version; results of steps that succeeded are kept."
              />
              <Radio
                value="FROM_FAILED_STEP_ON_LATEST_VERSION"
                label="From the failed step, on the latest version"
                description="Results of leading steps that succeeded and did not change are kept."
              />
              <Radio
                value="ON_LATEST_VERSION"
                label="All steps, on the latest version"
                description="Every step runs again, as the published version has it."
              />
            </div>
          </Radio.Group>
        )}
        {plan && <PlanSummary plan={plan} />}
        {plan && kind === 'RETRY' && (
          <NumberInput
            label="Retries per second"
            description="At most so many start in a second. Empty: all at once."
            value={pace}
            onChange={(value) => setPace(value === '' ? '' : Number(value))}
            min={0.001}
            max={10_000}
            decimalScale={3}
          />
        )}
        {error && (
          <Alert color="red" variant="outline" role="alert">
            {error}
          </Alert>
        )}
        <div className="line">
          {plan ? (
            <Button loading={isBusy} disabled={!plan.eligible} onClick={() => void execute(plan.planId)}>
              {verb} {plan.eligible.toLocaleString()} {plan.eligible === 1 ? 'run' : 'runs'}
            </Button>
          ) : (
            <Button loading={isBusy} onClick={() => void dryRun()}>
              Dry run
            </Button>
          )}
          <Button variant="default" onClick={onClose}>
            Close
          </Button>
          {!plan && <span className="dim">Shows what would happen. Nothing is changed.</span>}
        </div>
      </div>
    </Modal>
  )
}
