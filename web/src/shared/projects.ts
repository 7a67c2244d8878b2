import { fetchQuery, graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { projectsQuery, projectsQuery$data } from '../__generated__/projectsQuery.graphql'

const QUERY = graphql`
  query projectsQuery {
    projects(first: 1000) {
      nodes {
        id
        name
      }
    }
  }
`

export type ProjectName = projectsQuery$data['projects']['nodes'][number]

/** The projects that an operator key sees, the newest first. */
export async function readProjects(environment: Environment): Promise<readonly ProjectName[]> {
  const data = await fetchQuery<projectsQuery>(environment, QUERY, {}, { fetchPolicy: 'store-or-network' }).toPromise()
  return data!.projects.nodes
}
