import type { ReactNode } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { facts_comparison$key } from '../__generated__/facts_comparison.graphql'
import type { facts_run$data, facts_run$key } from '../__generated__/facts_run.graphql'
import { Status, words } from '../shared/status'
import { duration, Time } from '../shared/time'
import { Longer } from './longer'

const FRAGMENT = graphql`
  fragment facts_comparison on RunComparison {
    sameFlow
    sameVersion
    durationDifferenceMs
    a {
      ...facts_run
    }
    b {
      ...facts_run
    }
  }
`

const RUN = graphql`
  fragment facts_run on FlowRun {
    id
    status
    environment
    triggerMethod
    attempt
    createdAt
    queuedMs
    pausedMs
    durationMs
    stepData
    error {
      code
      message
      stepName
    }
    flow {
      id
      name
    }
    flowVersion {
      number
    }
  }
`

type Run = facts_run$data

/** How each fact is shown, and the value by which two runs have the same. */
const FACTS: { label: string; show: (run: Run) => ReactNode; value?: (run: Run) => unknown }[] = [
  { label: 'Status', show: ({ status }) => <Status status={status} />, value: ({ status }) => status },
  {
    label: 'Flow',
    show: ({ flow }) => (
      <Link to="/flows/$flowId" params={{ flowId: flow.id }}>
        {flow.name}
      </Link>
    ),
    value: ({ flow }) => flow.id,
  },
  {
    label: 'Version',
    show: ({ flowVersion }) => flowVersion.number,
    value: ({ flow, flowVersion }) => `${flow.id} ${flowVersion.number}`,
  },
  { label: 'Environment', show: ({ environment }) => words(environment), value: ({ environment }) => environment },
  { label: 'Trigger', show: ({ triggerMethod }) => words(triggerMethod), value: ({ triggerMethod }) => triggerMethod },
  { label: 'Attempt', show: ({ attempt }) => attempt, value: ({ attempt }) => attempt },
  { label: 'Created', show: ({ createdAt }) => <Time at={createdAt} format="full" /> },
  { label: 'Waited for the start', show: ({ queuedMs }) => duration(queuedMs) },
  { label: 'Paused', show: ({ pausedMs }) => duration(pausedMs) },
  {
    label: 'Duration',
    show: ({ durationMs }) => (durationMs == null ? <span className="dim">–</span> : duration(durationMs)),
  },
  { label: 'Error', show: (run) => <ErrorOf run={run} />, value: ({ error }) => error && JSON.stringify(error) },
]

export function Facts({ comparison }: { comparison: facts_comparison$key }) {
  const { sameFlow, durationDifferenceMs, ...runs } = useFragment(FRAGMENT, comparison)
  const a = useFragment<facts_run$key>(RUN, runs.a)
  const b = useFragment<facts_run$key>(RUN, runs.b)
  const purged = [a, b].filter(({ stepData }) => stepData === 'PURGED')
  return (
    <section className="panel scroll-x" aria-label="Runs">
      <table className="plain compare-table">
        <thead>
          <tr>
            <th scope="col">
              <span className="sr-only">Fact</span>
            </th>
            <th scope="col">
              <RunLink run={a}>Left run</RunLink>
            </th>
            <th scope="col">
              <RunLink run={b}>Right run</RunLink>
            </th>
            <th scope="col">Difference</th>
          </tr>
        </thead>
        <tbody>
          {FACTS.map(({ label, show, value }) => {
            const differs = value !== undefined && value(a) !== value(b)
            return (
              <tr key={label} data-differs={differs || undefined}>
                <th scope="row">{label}</th>
                <td>{show(a)}</td>
                <td>{show(b)}</td>
                <td className="dim">
                  {label === 'Duration' ? <Longer ms={durationDifferenceMs} than={a.durationMs} /> : differs && 'differs'}
                </td>
              </tr>
            )
          })}
        </tbody>
      </table>
      {!sameFlow && <p className="compare-note">These runs are of different flows: steps are compared by their names.</p>}
      {purged.length > 0 && (
        <p className="compare-note">
          Retention has purged the step data of {purged.length > 1 ? 'both runs' : `the ${purged[0] === a ? 'left' : 'right'} run`}.
        </p>
      )}
    </section>
  )
}

function RunLink({ run, children }: { run: Run; children: string }) {
  return (
    <Link to="/runs/$runId" params={{ runId: run.id }} title={run.id}>
      {children}
    </Link>
  )
}

function ErrorOf({ run: { error } }: { run: Run }) {
  if (!error) return <span className="dim">–</span>
  return (
    <span className="compare-value">
      {error.stepName && <b>{error.stepName}: </b>}
      {error.message} <span className="dim">{error.code}</span>
    </span>
  )
}
