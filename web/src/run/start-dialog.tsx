import { Suspense, useMemo, useState, useTransition } from 'react'
import { Button, Checkbox, Modal, NativeSelect, Radio, Textarea } from '@mantine/core'
import '../shared/modal.css'
import '@mantine/core/styles/Radio.layer.css'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { startDialogQuery, startDialogQuery$data } from '../__generated__/startDialogQuery.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { useViewer } from '../shared/viewer'
import { choicesOf, consequence, isForcible, isStrategy, RERUN_ALL } from './start-choices'
import { rerun, retry } from './start-requests'

const QUERY = graphql`
  query startDialogQuery($id: ID!, $stepName: String, $payloads: Boolean!) {
    flowRun(id: $id) {
      id
      input @include(if: $payloads)
      steps {
        name
        displayName
      }
      retryability(stepName: $stepName) {
        strategy
        allowed
        reason
        message
        reusedStepNames
        rerunStepNames
        reusedItems
        rerunItems
      }
      rerunAll: rerunnability {
        allowed
        reason
        message
        reusedStepNames
        rerunStepNames
      }
      rerunFromStep: rerunnability(stepName: $stepName) {
        allowed
        reason
        message
        reusedStepNames
        rerunStepNames
      }
    }
  }
`

type Props = { runId: string; stepName: string | undefined; initial: string; onClose: () => void }

/** Each way of starting a run from one that has ended: what it keeps, what it executes, or why it is refused. */
export default function StartDialog({ runId, stepName, initial, onClose }: Props) {
  const [step, setStep] = useState(stepName)
  const [isPending, startTransition] = useTransition()
  return (
    <Modal opened onClose={onClose} title="Start from this run" size="lg">
      <Suspense fallback={<p className="dim">Asking what each way would do…</p>}>
        <div aria-busy={isPending}>
          <Choices
            runId={runId}
            step={step}
            onStep={(name) => startTransition(() => setStep(name))}
            initial={initial}
            onClose={onClose}
          />
        </div>
      </Suspense>
    </Modal>
  )
}

type ChoicesProps = {
  runId: string
  step: string | undefined
  onStep: (step: string) => void
  initial: string
  onClose: () => void
}

function Choices({ runId, step, onStep, initial, onClose }: ChoicesProps) {
  const { payloads } = useViewer()
  const variables = useMemo(() => ({ id: runId, stepName: step, payloads }), [runId, step, payloads])
  const { flowRun } = useLazyLoadQuery<startDialogQuery>(QUERY, variables, { fetchPolicy: 'network-only' })
  if (!flowRun) return <p>The run was deleted.</p>
  return <ChoiceForm run={flowRun} step={step} onStep={onStep} initial={initial} onClose={onClose} />
}

type FormProps = Omit<ChoicesProps, 'runId'> & { run: NonNullable<startDialogQuery$data['flowRun']> }

function ChoiceForm({ run, step, onStep, initial, onClose }: FormProps) {
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const { error, isBusy, attempt } = useAttempt()
  const choices = choicesOf(run)
  const [key, setKey] = useState(initial)
  const [isForced, setForced] = useState(false)
  const [input, setInput] = useState<string | null>(null)
  const choice = choices.find((it) => it.key === key) ?? choices.find((it) => it.key === RERUN_ALL)!
  const forcible = isForcible(choice.check)
  const start = async () => {
    const runIdOfNew = await attempt(async () => {
      const values = {
        stepName: choice.fromStep ? step : undefined,
        input: input === null ? undefined : (JSON.parse(input) as unknown),
        force: forcible && isForced,
      }
      return isStrategy(choice.key)
        ? retry(environment, run.id, choice.key, values)
        : rerun(environment, run.id, values)
    })
    if (!runIdOfNew) return
    onClose()
    await navigate({ to: '/runs/$runId', params: { runId: runIdOfNew } })
  }
  return (
    <div className="stack">
      {run.steps.length > 0 && (
        <NativeSelect
          label="The chosen step"
          data={run.steps.map(({ name, displayName }) => ({ value: name, label: displayName ?? name }))}
          value={step}
          onChange={({ currentTarget: { value } }) => onStep(value)}
        />
      )}
      <Radio.Group label="How" value={choice.key} onChange={setKey}>
        <div className="stack run-choices">
          {choices.map((it) => (
            <Radio
              key={it.key}
              value={it.key}
              label={it.label}
              description={consequence(it.check)}
              disabled={!it.check.allowed && !isForcible(it.check)}
            />
          ))}
        </div>
      </Radio.Group>
      {forcible && (
        <Checkbox
          label="Start it nevertheless"
          checked={isForced}
          onChange={({ currentTarget: { checked } }) => setForced(checked)}
        />
      )}
      <Checkbox
        label="With another input"
        description="Results that are kept stay as they are."
        checked={input !== null}
        onChange={({ currentTarget: { checked } }) => setInput(checked ? JSON.stringify(run.input ?? {}, null, 2) : null)}
      />
      {input !== null && (
        <Textarea
          label="Input as JSON"
          rows={6}
          classNames={{ input: 'mono' }}
          value={input}
          onChange={({ currentTarget: { value } }) => setInput(value)}
        />
      )}
      <Failure error={error} />
      <div className="line">
        <Button
          loading={isBusy}
          disabled={!choice.check.allowed && !(forcible && isForced)}
          onClick={() => void start()}
        >
          Start the run
        </Button>
        <Button variant="default" onClick={onClose}>
          Close
        </Button>
      </div>
    </div>
  )
}
