/** Changes of saved views. They are apart from their reading because the first view does not need them. */

import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { viewChangesCreateMutation } from '../__generated__/viewChangesCreateMutation.graphql'
import type { viewChangesDeleteMutation } from '../__generated__/viewChangesDeleteMutation.graphql'
import type { viewChangesUpdateMutation } from '../__generated__/viewChangesUpdateMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const CREATE = graphql`
  mutation viewChangesCreateMutation(
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
  mutation viewChangesUpdateMutation(
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
  mutation viewChangesDeleteMutation($id: ID!) {
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

/** Creates a view, and returns its ID. */
export async function createView(
  environment: Environment,
  variables: viewChangesCreateMutation['variables'],
): Promise<string> {
  const { createSavedView } = await mutate<viewChangesCreateMutation>(environment, CREATE, variables)
  return createSavedView.savedView?.id ?? refused(createSavedView)
}

export async function updateView(
  environment: Environment,
  variables: viewChangesUpdateMutation['variables'],
): Promise<void> {
  const { updateSavedView } = await mutate<viewChangesUpdateMutation>(environment, UPDATE, variables)
  if (!updateSavedView.savedView) refused(updateSavedView)
}

export async function deleteView(environment: Environment, id: string): Promise<void> {
  const { deleteSavedView } = await mutate<viewChangesDeleteMutation>(environment, DELETE, { id })
  if (!deleteSavedView.savedViewId) refused(deleteSavedView)
}
