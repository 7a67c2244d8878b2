import { Link } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { operationsPageQuery } from '../__generated__/operationsPageQuery.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { useTitle } from '../shared/title'
import { nameOf } from './kinds'

const QUERY = graphql`
  query operationsPageQuery {
    bulkOperations(first: 100) {
      totalCount
      nodes {
        id
        kind
        status
        matched
        succeeded
        skipped
        failed
        requestedBy {
          name
        }
        createdAt
      }
    }
  }
`

/** The bulk operations that were started, newest first. */
export function OperationsPage() {
  useTitle('Bulk operations')
  const { bulkOperations } = useLazyLoadQuery<operationsPageQuery>(QUERY, {}, { fetchPolicy: 'store-and-network' })
  const operations = bulkOperations.nodes
  return (
    <main className="page">
      <div className="line">
        <h1>Bulk operations</h1>
        <span className="dim">{bulkOperations.totalCount.toLocaleString()}</span>
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={{}} />
      </div>
      <section className="panel scroll-x" aria-label="Bulk operations">
        {operations.length ? (
          <table className="plain">
            <thead>
              <tr>
                <th>Operation</th>
                <th>Status</th>
                <th className="number">Changed</th>
                <th className="number">Skipped</th>
                <th className="number">Failed</th>
                <th>Requested by</th>
                <th>When</th>
              </tr>
            </thead>
            <tbody>
              {operations.map((operation) => (
                <tr key={operation.id}>
                  <td>
                    <Link to="/bulk/$operationId" params={{ operationId: operation.id }}>
                      {nameOf(operation)}
                    </Link>
                  </td>
                  <td>{words(operation.status)}</td>
                  <td className="number">{operation.succeeded.toLocaleString()}</td>
                  <td className="number">{operation.skipped.toLocaleString()}</td>
                  <td className="number">{operation.failed.toLocaleString()}</td>
                  <td>{operation.requestedBy.name}</td>
                  <td className="dim nowrap">
                    <Time at={operation.createdAt} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <div className="empty">
            <strong>Nothing was done in bulk yet</strong>
            <span>Select runs in the list, then retry, cancel or archive them: a dry run comes first.</span>
            <Link to="/">All runs</Link>
          </div>
        )}
      </section>
    </main>
  )
}
