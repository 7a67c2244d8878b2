import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { lineage_link$key } from '../__generated__/lineage_link.graphql'
import type { lineage_run$key } from '../__generated__/lineage_run.graphql'
import { Status } from '../shared/status'
import { Time } from '../shared/time'

const LINK = graphql`
  fragment lineage_link on FlowRun {
    id
    status
    createdAt
    flow {
      name
    }
  }
`

const FRAGMENT = graphql`
  fragment lineage_run on FlowRun {
    id
    parentRun {
      id
      ...lineage_link
    }
    retryOf {
      id
      ...lineage_link
    }
    retries(first: 20) {
      nodes {
        id
        ...lineage_link
      }
    }
    childRuns(first: 50) {
      totalCount(limit: 1000)
      nodes {
        id
        ...lineage_link
      }
    }
  }
`

/** The runs that this one comes from, and those that come from it. */
export function Lineage({ run: key }: { run: lineage_run$key }) {
  const run = useFragment(FRAGMENT, key)
  const groups = [
    { title: 'Parent', runs: run.parentRun ? [run.parentRun] : [] },
    { title: 'Retry of', runs: run.retryOf ? [run.retryOf] : [] },
    { title: 'Retries', runs: run.retries.nodes },
    { title: 'Child runs', runs: run.childRuns.nodes },
  ].filter(({ runs }) => runs.length)
  if (!groups.length) return null
  return (
    <section className="panel" aria-label="Lineage">
      <header>
        <h2>Lineage</h2>
        <span className="grow" />
        {run.childRuns.totalCount > 0 && (
          <Link to="/" search={{ parentRunId: run.id, archived: 'INCLUDE' }}>
            {run.childRuns.totalCount === 1 ? 'In the list' : `All ${run.childRuns.totalCount.toLocaleString()} child runs`}
          </Link>
        )}
      </header>
      <dl className="lineage">
        {groups.map(({ title, runs }) => (
          <div key={title}>
            <dt className="dim">{title}</dt>
            {runs.map((other) => (
              <dd key={other.id}>
                <RunLink run={other} />
              </dd>
            ))}
          </div>
        ))}
      </dl>
    </section>
  )
}

function RunLink({ run: key }: { run: lineage_link$key }) {
  const run = useFragment(LINK, key)
  return (
    <span className="line">
      <Status status={run.status} />
      <Link to="/runs/$runId" params={{ runId: run.id }}>
        {run.flow.name}
      </Link>
      <span className="dim">
        <Time at={run.createdAt} />
      </span>
    </span>
  )
}
