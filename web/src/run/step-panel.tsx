import { Button } from '@mantine/core'
import { graphql, useFragment } from 'react-relay/hooks'
import type { stepPanel_run$key } from '../__generated__/stepPanel_run.graphql'
import { JsonView } from '../shared/json-view'
import { isLive, Status } from '../shared/status'
import { Time } from '../shared/time'
import { BASE_PATH } from '../shared/base-path'
import { StepActions } from './step-actions'

const FRAGMENT = graphql`
  fragment stepPanel_run on FlowRun
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    status
    failedStepName
    input @include(if: $payloads)
    output @include(if: $payloads)
    metadata
    stepData
    erasedAt
    files @include(if: $payloads) {
      id
      name
      size
      url
      stepName
    }
    steps {
      name
      displayName
      kind
      status
      input @include(if: $payloads)
      output @include(if: $payloads)
      startedAt
      completedBy {
        name
      }
      completionNote
      error {
        code
        message
        details @include(if: $payloads)
      }
    }
  }
`

type Props = { run: stepPanel_run$key; step: string | undefined; onSelect: (step: string | undefined) => void }

/** The data of the selected step; those of the run while none is selected. */
export function StepPanel({ run: key, step: name, onSelect }: Props) {
  const run = useFragment(FRAGMENT, key)
  const step = run.steps.find((it) => it.name === name)
  const files = (run.files ?? []).filter(({ stepName }) => !step || stepName === step.name)
  const shown = step ?? run
  return (
    <section className="panel" aria-label={step ? `Step ${step.name}` : 'Data of the run'}>
      <header>
        <h2>{step ? (step.displayName ?? step.name) : 'Run'}</h2>
        {step && <span className="tag">{step.kind}</span>}
        {step && <Status status={step.status} />}
        <span className="grow" />
        {step?.startedAt && (
          <span className="dim">
            <Time at={step.startedAt} format="clock" />
          </span>
        )}
        {step && (
          <Button variant="subtle" size="compact-xs" onClick={() => onSelect(undefined)}>
            Data of the run
          </Button>
        )}
      </header>
      <div className="body stack">
        {run.stepData === 'PURGED' && (
          <p className="dim">
            {run.erasedAt ? 'The data of the steps were erased.' : 'Retention has deleted the data of the steps.'}
          </p>
        )}
        {step && !isLive(run.status) && (
          <StepActions
            runId={run.id}
            stepName={step.name}
            hasSucceeded={run.status === 'SUCCEEDED'}
            isFailedStep={step.name === run.failedStepName}
          />
        )}
        {step?.completedBy && (
          <p className="prose">
            Completed by hand by <b>{step.completedBy.name ?? 'a person without a name'}</b>
            {step.completionNote && `: ${step.completionNote}`}
          </p>
        )}
        {step?.error && (
          <div className="run-error" role="note" aria-label="Error of the step">
            <b>{step.error.code}</b>
            <span className="grow">{step.error.message}</span>
          </div>
        )}
        {step?.error?.details != null && <Data title="Details of the error" value={step.error.details} />}
        {run.files ? (
          <Data title="Input" value={shown.input} />
        ) : (
          <p className="dim">Inputs, outputs, logs and files need a key with access to payloads.</p>
        )}
        {shown.output != null && <Data title="Output" value={shown.output} />}
        {!step && Object.keys(run.metadata as object).length > 0 && <Data title="Metadata" value={run.metadata} />}
        {files.length > 0 && (
          <div>
            <h3>Files</h3>
            <ul className="run-files">
              {files.map(({ id, name: file, url, size }) => (
                <li key={id}>
                  <a href={BASE_PATH + url} download>
                    {file}
                  </a>{' '}
                  <span className="dim">{size.toLocaleString()} bytes</span>
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
    </section>
  )
}

function Data({ title, value }: { title: string; value: unknown }) {
  return (
    <div>
      <h3>{title}</h3>
      <JsonView value={value} label={title} />
    </div>
  )
}
