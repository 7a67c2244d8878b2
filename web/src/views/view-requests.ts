import { fetchQuery, graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { viewRequestsQuery, viewRequestsQuery$data } from '../__generated__/viewRequestsQuery.graphql'

export const VIEWS = graphql`
  query viewRequestsQuery($projectId: ID!) {
    savedViews(projectId: $projectId) {
      id
      name
      isShared
      filter
      orderBy {
        field
        direction
      }
      updatedAt
    }
  }
`

export type SavedView = viewRequestsQuery$data['savedViews'][number]

export async function readViews(environment: Environment, projectId: string): Promise<readonly SavedView[]> {
  const data = await fetchQuery<viewRequestsQuery>(environment, VIEWS, { projectId }).toPromise()
  return data!.savedViews
}
