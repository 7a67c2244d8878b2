import { graphql, useFragment } from 'react-relay/hooks'
import type { waterfall_run$data, waterfall_run$key } from '../__generated__/waterfall_run.graphql'
import { isLive, statusColour, words } from '../shared/status'
import { duration, useNow } from '../shared/time'

const FRAGMENT = graphql`
  fragment waterfall_run on FlowRun {
    status
    createdAt
    startedAt
    finishedAt
    flowVersion {
      steps {
        name
        displayName
      }
    }
    steps {
      name
      displayName
      kind
      status
      startedAt
      finishedAt
      reusedFrom {
        id
      }
      attempts {
        number
        status
        startedAt
        finishedAt
        error {
          message
        }
      }
    }
  }
`

const TICKS = 4
const LIVE_MS = 250
const SETTLED_MS = 60_000

type Step = waterfall_run$data['steps'][number]
type Props = { run: waterfall_run$key; step: string | undefined; onSelect: (step: string | undefined) => void }

/** The steps of a run and their attempts on one time axis. */
export function Waterfall({ run: key, step: selected, onSelect }: Props) {
  const run = useFragment(FRAGMENT, key)
  const live = isLive(run.status)
  const now = useNow(live ? LIVE_MS : SETTLED_MS)
  const begin = Date.parse(run.startedAt ?? run.createdAt)
  const end = Math.max(begin + 1, run.finishedAt ? Date.parse(run.finishedAt) : now)
  const axis = { begin, length: end - begin, now }
  const reached = new Set(run.steps.map(({ name }) => name))
  const others = run.flowVersion.steps.filter(({ name }) => !reached.has(name))
  return (
    <section className="panel" aria-label="Steps">
      <header>
        <h2>Steps</h2>
        <span className="grow" />
        <span className="dim">{duration(axis.length)}</span>
      </header>
      {run.steps.length ? (
        <div className="waterfall">
          <div className="waterfall-axis" aria-hidden>
            {Array.from({ length: TICKS + 1 }, (_, tick) => (
              <span key={tick} style={{ left: `${(100 * tick) / TICKS}%` }}>
                {duration((axis.length * tick) / TICKS)}
              </span>
            ))}
          </div>
          {run.steps.map((step) => (
            <StepRow
              key={step.name}
              step={step}
              axis={axis}
              isSelected={step.name === selected}
              onSelect={() => onSelect(step.name)}
            />
          ))}
          {others.map(({ name, displayName }) => (
            <div key={name} className="waterfall-row waterfall-unreached">
              <span className="waterfall-name">
                <span className="cut">{displayName ?? name}</span>
              </span>
              <span>{live ? 'not reached yet' : 'not reached'}</span>
            </div>
          ))}
        </div>
      ) : (
        <div className="empty">{live ? 'No step has begun yet.' : 'The run has no results of steps.'}</div>
      )}
    </section>
  )
}

type Axis = { begin: number; length: number; now: number }
type RowProps = { step: Step; axis: Axis; isSelected: boolean; onSelect: () => void }

function StepRow({ step, axis, isSelected, onSelect }: RowProps) {
  const took = step.startedAt && (step.finishedAt ? Date.parse(step.finishedAt) : axis.now) - Date.parse(step.startedAt)
  const last = step.attempts.at(-1)
  const waits = step.status === 'PAUSED' || step.status === 'PENDING'
  // An attempt that waits has not ended, but does nothing.
  const attempts = waits ? step.attempts.filter(({ finishedAt }) => finishedAt) : step.attempts
  return (
    <button type="button" className="waterfall-row" aria-pressed={isSelected} onClick={onSelect}>
      <span className="waterfall-name">
        <span className="status-mark" data-status={step.status} style={{ background: statusColour(step.status) }} />
        <span className="cut">{step.displayName ?? step.name}</span>
        <span className="sr-only">{words(step.status)}</span>
        {step.attempts.length > 1 && <span className="tag">{step.attempts.length} attempts</span>}
        {step.reusedFrom && <span className="tag">kept</span>}
      </span>
      <span className="waterfall-track">
        {step.startedAt && waits && (
          <Bar axis={axis} from={last?.finishedAt ?? step.startedAt} to={null} status={step.status} isWait />
        )}
        {attempts.map(({ number, status, startedAt, finishedAt, error }) => (
          <Bar
            key={number}
            axis={axis}
            from={startedAt}
            to={finishedAt}
            status={status}
            title={`Attempt ${number}: ${words(status).toLowerCase()}${error ? `, ${error.message}` : ''}`}
          />
        ))}
      </span>
      <span className="waterfall-took">{took === null || took === undefined || took === '' ? '' : duration(took)}</span>
    </button>
  )
}

type BarProps = {
  axis: Axis
  from: string
  to: string | null | undefined
  status: string
  title?: string
  isWait?: boolean
}

function Bar({ axis, from, to, status, title, isWait = false }: BarProps) {
  const left = Math.max(0, (Date.parse(from) - axis.begin) / axis.length)
  const right = Math.min(1, ((to ? Date.parse(to) : axis.now) - axis.begin) / axis.length)
  // Steps that an earlier run executed lie before the axis.
  if (right <= 0) return null
  return (
    <span
      className="waterfall-bar"
      data-wait={isWait || undefined}
      title={title}
      style={{
        left: `${100 * left}%`,
        width: `max(3px, ${100 * Math.max(0, right - left)}%)`,
        background: isWait ? undefined : statusColour(status),
        borderColor: statusColour(status),
      }}
    />
  )
}
