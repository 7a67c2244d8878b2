import { fetchQuery, graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { viewRequestsCreateMutation } from '../__generated__/viewRequestsCreateMutation.graphql'
import type { viewRequestsDeleteMutation } from '../__generated__/viewRequestsDeleteMutation.graphql'
import type { viewRequestsQuery, viewRequestsQuery$data } from '../__generated__/viewRequestsQuery.graphql'
import type { viewRequestsUpdateMutation } from '../__generated__/viewRequestsUpdateMutation.graphql'
import { mutate, refused } from '../shared/mutate'

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

const CREATE = graphql`
  mutation viewRequestsCreateMutation(
    $projectId: ID!
    $name: String!
    $shared: Boolean!
    $filter: FlowRunFilter!
    $orderBy: FlowRunOrder!
  ) {
    createSavedView(projectId: $projectId, name: $name, shared: $shared, filter: $filter, orderBy: $orderBy) {
      ... on CreateSavedViewSuccess {
        savedView {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const UPDATE = graphql`
  mutation viewRequestsUpdateMutation(
    $id: ID!
    $name: String
    $shared: Boolean
    $filter: FlowRunFilter
    $orderBy: FlowRunOrder
  ) {
    updateSavedView(id: $id, name: $name, shared: $shared, filter: $filter, orderBy: $orderBy) {
      ... on UpdateSavedViewSuccess {
        savedView {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const DELETE = graphql`
  mutation viewRequestsDeleteMutation($id: ID!) {
    deleteSavedView(id: $id) {
      ... on DeleteSavedViewSuccess {
        savedViewId
      }
      ... on UserError {
        message
      }
    }
  }
`

export type SavedView = viewRequestsQuery$data['savedViews'][number]

export async function readViews(environment: Environment, projectId: string): Promise<readonly SavedView[]> {
  const data = await fetchQuery<viewRequestsQuery>(environment, VIEWS, { projectId }).toPromise()
  return data!.savedViews
}

/** Creates a view, and returns its ID. */
export async function createView(
  environment: Environment,
  variables: viewRequestsCreateMutation['variables'],
): Promise<string> {
  const { createSavedView } = await mutate<viewRequestsCreateMutation>(environment, CREATE, variables)
  return createSavedView.savedView?.id ?? refused(createSavedView)
}

export async function updateView(
  environment: Environment,
  variables: viewRequestsUpdateMutation['variables'],
): Promise<void> {
  const { updateSavedView } = await mutate<viewRequestsUpdateMutation>(environment, UPDATE, variables)
  if (!updateSavedView.savedView) refused(updateSavedView)
}

export async function deleteView(environment: Environment, id: string): Promise<void> {
  const { deleteSavedView } = await mutate<viewRequestsDeleteMutation>(environment, DELETE, { id })
  if (!deleteSavedView.savedViewId) refused(deleteSavedView)
}
