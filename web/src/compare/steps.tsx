import { Fragment, useState } from 'react'
import { Switch } from '@mantine/core'
import '@mantine/core/styles/Switch.layer.css'
import { graphql, useFragment } from 'react-relay/hooks'
import type { steps_comparison$data, steps_comparison$key } from '../__generated__/steps_comparison.graphql'
import { Status, statusColour } from '../shared/status'
import { duration } from '../shared/time'
import { Differences } from './differences'
import { Longer } from './longer'

const FRAGMENT = graphql`
  fragment steps_comparison on RunComparison
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    steps {
      name
      sameOutcome
      durationDifferenceMs
      a {
        status
        durationMs
        error {
          code
          message
        }
      }
      b {
        status
        durationMs
        error {
          code
          message
        }
      }
      definition {
        differences {
          path
        }
        ...differences_of
      }
      input @include(if: $payloads) {
        differences {
          path
        }
        ...differences_of
      }
      output @include(if: $payloads) {
        differences {
          path
        }
        ...differences_of
      }
    }
  }
`

type Step = steps_comparison$data['steps'][number]
type Result = Step['a']

/** Both runs step by step: outcome, duration, and what was different about it. */
export function Steps({ comparison }: { comparison: steps_comparison$key }) {
  const { steps } = useFragment(FRAGMENT, comparison)
  const [isDifferentOnly, setDifferentOnly] = useState(false)
  const [opened, setOpened] = useState<ReadonlySet<string>>(() => new Set(firstDifferent(steps)))
  const longest = Math.max(1, ...steps.flatMap(({ a, b }) => [a?.durationMs ?? 0, b?.durationMs ?? 0]))
  const shown = isDifferentOnly ? steps.filter(differs) : steps
  const toggle = (name: string) =>
    setOpened((old) => {
      const next = new Set(old)
      if (!next.delete(name)) next.add(name)
      return next
    })
  return (
    <section className="panel" aria-label="Steps">
      <header>
        <h2>Steps</h2>
        <span className="dim">
          {steps.filter(differs).length} of {steps.length} differ
        </span>
        <span className="grow" />
        <Switch
          label="Only steps that differ"
          checked={isDifferentOnly}
          onChange={(event) => setDifferentOnly(event.currentTarget.checked)}
        />
      </header>
      <div className="scroll-x">
        <table className="plain compare-table">
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">Left</th>
              <th scope="col">Right</th>
              <th scope="col">Right took</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((step) => (
              <Fragment key={step.name}>
                <tr data-differs={!step.sameOutcome || undefined}>
                  <th scope="row">
                    <button
                      type="button"
                      className="compare-toggle"
                      aria-expanded={opened.has(step.name)}
                      onClick={() => toggle(step.name)}
                    >
                      {step.name}
                    </button>{' '}
                    <span className="dim compare-what">{whatDiffers(step)}</span>
                  </th>
                  <td>
                    <Outcome result={step.a} longest={longest} />
                  </td>
                  <td>
                    <Outcome result={step.b} longest={longest} />
                  </td>
                  <td className="dim">
                    <Longer ms={step.durationDifferenceMs} than={step.a?.durationMs} />
                  </td>
                </tr>
                {opened.has(step.name) && (
                  <tr>
                    <td colSpan={4}>
                      <Details step={step} />
                    </td>
                  </tr>
                )}
              </Fragment>
            ))}
          </tbody>
        </table>
      </div>
      {!shown.length && <p className="compare-note">No step differs in its outcome, definition, input or output.</p>}
    </section>
  )
}

function Outcome({ result, longest }: { result: Result; longest: number }) {
  if (!result) return <span className="dim">not reached</span>
  const ms = result.durationMs
  return (
    <div className="compare-outcome">
      <span>
        <Status status={result.status} /> {ms != null && <span className="dim">{duration(ms)}</span>}
      </span>
      <span
        className="compare-bar"
        style={{ width: `${(100 * (ms ?? 0)) / longest}%`, background: statusColour(result.status) }}
        aria-hidden
      />
    </div>
  )
}

function Details({ step: { name, a, b, definition, input, output } }: { step: Step }) {
  const errors = [a?.error && { side: 'Left', ...a.error }, b?.error && { side: 'Right', ...b.error }]
  return (
    <div className="stack" role="group" aria-label={`Differences of step ${name}`}>
      {errors.map(
        (error) =>
          error && (
            <p key={error.side} className="compare-same compare-value">
              <b>{error.side} error</b> {error.message} <span className="dim">{error.code}</span>
            </p>
          ),
      )}
      <Differences title="Definition" of={definition} />
      {input && <Differences title="Input" of={input} />}
      {output && <Differences title="Output" of={output} />}
    </div>
  )
}

/** The name of the step that is looked at first: one with another outcome, if there is one. */
function firstDifferent(steps: readonly Step[]): string[] {
  const step = steps.find(({ sameOutcome }) => !sameOutcome) ?? steps.find(differs)
  return step ? [step.name] : []
}

function differs(step: Step): boolean {
  return whatDiffers(step) !== ''
}

function whatDiffers({ sameOutcome, definition, input, output }: Step): string {
  const parts = [
    !sameOutcome && 'outcome',
    definition.differences.length && 'definition',
    input?.differences.length && 'input',
    output?.differences.length && 'output',
  ]
  return parts.filter(Boolean).join(', ')
}
