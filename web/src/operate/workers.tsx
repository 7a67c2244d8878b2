import { Link } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { workersQuery } from '../__generated__/workersQuery.graphql'
import { Count } from '../shared/count'
import { CopyableId } from '../shared/copy'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { useFresh } from '../shared/use-fresh'
import { Queues } from './queues'
import { Waiting } from './waiting'

const QUERY = graphql`
  query workersQuery {
    drain {
      reason
      heldAt
      heldBy {
        name
      }
    }
    workers(first: 100) {
      totalCount(limit: 10000)
      nodes {
        id
        status
        version
        host
        processId
        concurrency
        executing
        startedAt
        heartbeatAt
        runs(first: 3) {
          id
          flow {
            name
          }
        }
      }
    }
  }
`

const COUNTED = 10_000
/** Workers report themselves every five seconds, and there is no subscription to that. */
const HEARTBEAT_MS = 5_000
const NO_VARIABLES = {}

/** Who executes runs, what stands in the queues, and why runs wait. */
export default function Workers() {
  const { workers, drain } = useLazyLoadQuery<workersQuery>(QUERY, NO_VARIABLES, { fetchPolicy: 'store-and-network' })
  useFresh<workersQuery>(QUERY, NO_VARIABLES, HEARTBEAT_MS)
  const lives = workers.nodes.some(({ status }) => status === 'ACTIVE')
  return (
    <div className="stack">
      {drain && (
        <div className="run-error panel body" role="note" aria-label="Drain">
          <b>Workers take no runs.</b> Drained by {drain.heldBy.name ?? 'the command line'} <Time at={drain.heldAt} />
          {drain.reason && `: ${drain.reason}`}. <code className="mono">python -m service undrain</code> ends it.
        </div>
      )}
      <section className="panel" aria-label="Workers">
        <header>
          <h2>Workers</h2>
          <Count count={workers.totalCount} limit={COUNTED} shown={workers.nodes.length} one="worker" many="workers" />
          <span className="grow" />
          <OpenAsQuery document={QUERY} variables={NO_VARIABLES} />
        </header>
        {!lives && (
          <div className="empty" role="alert">
            <strong>No worker claims runs</strong>
            <span>
              Runs wait, and schedules start none, until one runs: <code className="mono">python -m service worker</code>
            </span>
          </div>
        )}
        {workers.nodes.length > 0 && (
          <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of workers">
            <table className="plain">
              <thead>
                <tr>
                  <th>Worker</th>
                  <th>Status</th>
                  <th>Host</th>
                  <th className="number">Executes</th>
                  <th>Runs</th>
                  <th>Version</th>
                  <th>Started</th>
                  <th>Heartbeat</th>
                </tr>
              </thead>
              <tbody>
                {workers.nodes.map((worker) => (
                  <tr key={worker.id}>
                    <td>
                      <CopyableId id={worker.id} />
                    </td>
                    <td>{words(worker.status)}</td>
                    <td>{worker.host ? `${worker.host}, process ${worker.processId}` : <span className="dim">not shown</span>}</td>
                    <td className="number">
                      {worker.executing} of {worker.concurrency}
                    </td>
                    <td>
                      {worker.runs.map((run) => (
                        <Link key={run.id} to="/runs/$runId" params={{ runId: run.id }} className="tag">
                          {run.flow.name}
                        </Link>
                      ))}
                      {!worker.runs.length && <span className="dim">none that you see</span>}
                    </td>
                    <td>{worker.version}</td>
                    <td className="dim nowrap">
                      <Time at={worker.startedAt} />
                    </td>
                    <td className="dim nowrap">
                      <Time at={worker.heartbeatAt} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <Queues />
      <Waiting />
    </div>
  )
}
