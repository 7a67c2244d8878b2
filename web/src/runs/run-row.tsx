import { memo } from 'react'
import { Checkbox } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { runRow_run$key } from '../__generated__/runRow_run.graphql'
import { Status, words } from '../shared/status'
import { Elapsed, Time } from '../shared/time'
import { Waiting } from '../shared/wait'

const FRAGMENT = graphql`
  fragment runRow_run on FlowRun
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    summary @include(if: $payloads)
    waitingFor {
      kind
      until
    }
    status
    environment
    triggerMethod
    tags
    attempt
    createdAt
    startedAt
    finishedAt
    archivedAt
    failedStepName
    error {
      code
      message
    }
    recoveredBy {
      id
    }
    flow {
      name
    }
  }
`

type CellsProps = {
  id: string
  run: runRow_run$key
  leaving: string | undefined
  isSelected: boolean
  onSelect: (id: string) => void
}
type Props = CellsProps & { index: number; top: number }

const SHOWN_TAGS = 3

/** A row in its place. Each new run moves all rows, so their cells, which stay what they are, are apart. */
export function RunRow({ index, top, ...cells }: Props) {
  const { leaving, isSelected } = cells
  return (
    <div
      className="runs-row"
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      data-index={index}
      data-leaving={leaving ? true : undefined}
      style={{ transform: `translateY(${top}px)` }}
    >
      <Cells {...cells} />
    </div>
  )
}

const Cells = memo(function Cells({ run: key, leaving, isSelected, onSelect }: CellsProps) {
  const run = useFragment(FRAGMENT, key)
  return (
    <>
      <span role="cell">
        <Checkbox
          aria-label={`Select run of ${run.flow.name}`}
          checked={isSelected}
          onChange={() => onSelect(run.id)}
        />
      </span>
      <span role="cell">
        <Status status={run.status} />
      </span>
      <span role="cell" className="cut">
        <Link to="/runs/$runId" params={{ runId: run.id }} className="runs-link" title={run.id}>
          {run.flow.name}
        </Link>
      </span>
      <span role="cell" className="runs-details">
        {leaving && <span className="runs-leaving">{leaving}</span>}
        {run.waitingFor && <Waiting waitingFor={run.waitingFor} />}
        {run.summary && (
          <span className="cut runs-summary" title={run.summary}>
            {run.summary}
          </span>
        )}
        {run.error && (
          <span className="cut" title={run.error.message}>
            {run.failedStepName && <b>{run.failedStepName}: </b>}
            {run.error.message}
          </span>
        )}
        {run.recoveredBy && <span className="tag">recovered</span>}
        {run.archivedAt && <span className="tag">archived</span>}
        {run.attempt > 1 && <span className="tag">retry {run.attempt - 1}</span>}
        {run.environment === 'TESTING' && <span className="tag">testing</span>}
        {run.tags.slice(0, SHOWN_TAGS).map((tag) => (
          <span key={tag} className="tag cut">
            {tag}
          </span>
        ))}
        {run.tags.length > SHOWN_TAGS && <span className="dim">+{run.tags.length - SHOWN_TAGS}</span>}
      </span>
      <span role="cell" className="wide-only dim">
        {words(run.triggerMethod)}
      </span>
      <span role="cell" className="number">
        <Elapsed from={run.startedAt} to={run.finishedAt} />
      </span>
      <span role="cell" className="number dim">
        <Time at={run.createdAt} />
      </span>
    </>
  )
}, areSame)

/** Relay makes the reference to a run anew when its place changes; the run itself is what its ID says. */
function areSame(one: CellsProps, other: CellsProps): boolean {
  return (
    one.id === other.id &&
    one.leaving === other.leaving &&
    one.isSelected === other.isSelected &&
    one.onSelect === other.onSelect
  )
}
