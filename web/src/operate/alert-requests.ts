import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { alertRequestsCreateMutation } from '../__generated__/alertRequestsCreateMutation.graphql'
import type { alertRequestsDeleteMutation } from '../__generated__/alertRequestsDeleteMutation.graphql'
import type { alertRequestsTestMutation } from '../__generated__/alertRequestsTestMutation.graphql'
import type { alertRequestsUpdateMutation } from '../__generated__/alertRequestsUpdateMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const CREATE = graphql`
  mutation alertRequestsCreateMutation($input: CreateAlertInput!) {
    createAlert(input: $input) {
      ... on CreateAlertSuccess {
        alert {
          id
        }
      }
      ... on AlertInvalid {
        problems {
          path
          message
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const UPDATE = graphql`
  mutation alertRequestsUpdateMutation($input: UpdateAlertInput!) {
    updateAlert(input: $input) {
      ... on UpdateAlertSuccess {
        alert {
          id
        }
      }
      ... on AlertInvalid {
        problems {
          path
          message
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const TEST = graphql`
  mutation alertRequestsTestMutation($id: ID!) {
    testAlert(id: $id) {
      ... on TestAlertSuccess {
        notification {
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
  mutation alertRequestsDeleteMutation($id: ID!) {
    deleteAlert(id: $id) {
      ... on DeleteAlertSuccess {
        alertId
      }
      ... on UserError {
        message
      }
    }
  }
`

export async function createAlert(
  environment: Environment,
  input: alertRequestsCreateMutation['variables']['input'],
): Promise<string> {
  const { createAlert: made } = await mutate<alertRequestsCreateMutation>(environment, CREATE, { input })
  return made.alert?.id ?? refused(made)
}

export async function enableAlert(environment: Environment, id: string, enabled: boolean): Promise<void> {
  const variables = { input: { id, enabled } }
  const { updateAlert } = await mutate<alertRequestsUpdateMutation>(environment, UPDATE, variables)
  if (!updateAlert.alert) refused(updateAlert)
}

export async function testAlert(environment: Environment, id: string): Promise<void> {
  const { testAlert: tested } = await mutate<alertRequestsTestMutation>(environment, TEST, { id })
  if (!tested.notification) refused(tested)
}

export async function deleteAlert(environment: Environment, id: string): Promise<void> {
  const { deleteAlert: deleted } = await mutate<alertRequestsDeleteMutation>(environment, DELETE, { id })
  if (!deleted.alertId) refused(deleted)
}
