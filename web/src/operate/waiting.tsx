import { Link } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { waitingQuery, waitingQuery$data } from '../__generated__/waitingQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { Time } from '../shared/time'
import { useFresh } from '../shared/use-fresh'

const QUERY = graphql`
  query waitingQuery {
    flowRuns(
      filter: { waitingFor: [WORKER, SLOT, RELEASE, RETRY], archived: INCLUDE }
      orderBy: { field: CREATED_AT, direction: ASC }
      first: 20
    ) {
      totalCount(limit: 1000)
      nodes {
        id
        createdAt
        flow {
          name
        }
        waitingFor {
          kind
          until
          position
          blockedBy {
            __typename
            ... on Flow {
              id
              name
            }
            ... on Project {
              name
            }
          }
        }
      }
    }
  }
`

const COUNTED = 1_000
const READ_MS = 5_000
const NO_VARIABLES = {}

type Wait = NonNullable<waitingQuery$data['flowRuns']['nodes'][number]['waitingFor']>

/** The oldest runs that wait for the service, and why. */
export function Waiting() {
  const { flowRuns } = useLazyLoadQuery<waitingQuery>(QUERY, NO_VARIABLES, { fetchPolicy: 'store-and-network' })
  useFresh<waitingQuery>(QUERY, NO_VARIABLES, READ_MS)
  return (
    <section className="panel" aria-label="Runs that wait">
      <header>
        <h2>Runs that wait the longest</h2>
        <Count count={flowRuns.totalCount} limit={COUNTED} shown={flowRuns.nodes.length} one="run" many="runs" />
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={NO_VARIABLES} />
      </header>
      {flowRuns.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of waiting runs">
          <table className="plain">
            <thead>
              <tr>
                <th>Run</th>
                <th>Waits for</th>
                <th>Created</th>
              </tr>
            </thead>
            <tbody>
              {flowRuns.nodes.map((run) => (
                <tr key={run.id}>
                  <td>
                    <Link to="/runs/$runId" params={{ runId: run.id }}>
                      {run.flow.name}
                    </Link>
                  </td>
                  <td>{run.waitingFor && <Reason wait={run.waitingFor} />}</td>
                  <td className="dim nowrap">
                    <Time at={run.createdAt} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>No run waits for a worker, a slot, a release or its next attempt</strong>
        </div>
      )}
    </section>
  )
}

function Reason({ wait: { kind, until, position, blockedBy } }: { wait: Wait }) {
  const place = position == null ? '' : `, number ${position.toLocaleString()} in the queue`
  const by = blockedBy && 'name' in blockedBy ? ` of ${blockedBy.name}` : ''
  switch (kind) {
    case 'WORKER':
      return <>a worker{place}</>
    case 'SLOT':
      return (
        <>
          a slot under the limit{by}
          {place}
        </>
      )
    case 'RELEASE':
      return <>the release of the hold{by}</>
    default:
      return <>its next attempt{until && <>, <Time at={until} /></>}</>
  }
}
