import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, usePaginationFragment } from 'react-relay/hooks'
import type { operationPageQuery } from '../__generated__/operationPageQuery.graphql'
import type { outcomes_operation$key } from '../__generated__/outcomes_operation.graphql'
import { Status, words } from '../shared/status'

const PAGE_SIZE = 100

const FRAGMENT = graphql`
  fragment outcomes_operation on BulkOperation
  @refetchable(queryName: "outcomesPageQuery")
  @argumentDefinitions(cursor: { type: "String" }, count: { type: "Int", defaultValue: 100 }) {
    outcomes(first: $count, after: $cursor, result: $result)
      @connection(key: "outcomes_outcomes", filters: ["result"]) {
      edges {
        node {
          runId
          result
          reason
          dueAt
          run {
            status
            flow {
              name
            }
          }
          newRun {
            id
            status
          }
        }
      }
    }
  }
`

export function Outcomes({ operation }: { operation: outcomes_operation$key }) {
  const { data, hasNext, loadNext, isLoadingNext } = usePaginationFragment<operationPageQuery, outcomes_operation$key>(
    FRAGMENT,
    operation,
  )
  const outcomes = data.outcomes.edges.map(({ node }) => node)
  if (!outcomes.length) return <div className="empty">No run has this outcome.</div>
  return (
    <div className="scroll-x">
      <table className="plain">
        <thead>
          <tr>
            <th>Run</th>
            <th>Status</th>
            <th>Outcome</th>
            <th>Retry</th>
          </tr>
        </thead>
        <tbody>
          {outcomes.map(({ runId, result, reason, run, newRun }) => (
            <tr key={runId}>
              <td>
                <Link to="/runs/$runId" params={{ runId }}>
                  {run?.flow.name ?? runId}
                </Link>
              </td>
              <td>{run && <Status status={run.status} />}</td>
              <td>
                {words(result)}
                {reason && <span className="dim">: {words(reason).toLowerCase()}</span>}
              </td>
              <td>
                {newRun && (
                  <Link to="/runs/$runId" params={{ runId: newRun.id }}>
                    {words(newRun.status)}
                  </Link>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {hasNext && (
        <div className="body" style={{ padding: 12 }}>
          <Button variant="default" loading={isLoadingNext} onClick={() => loadNext(PAGE_SIZE)}>
            More
          </Button>
        </div>
      )}
    </div>
  )
}
