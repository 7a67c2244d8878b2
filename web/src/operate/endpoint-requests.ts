import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { endpointRequestsCreateMutation } from '../__generated__/endpointRequestsCreateMutation.graphql'
import type { endpointRequestsDeleteMutation } from '../__generated__/endpointRequestsDeleteMutation.graphql'
import type { endpointRequestsRedeliverAllMutation } from '../__generated__/endpointRequestsRedeliverAllMutation.graphql'
import type { endpointRequestsRotateMutation } from '../__generated__/endpointRequestsRotateMutation.graphql'
import type { endpointRequestsTestMutation } from '../__generated__/endpointRequestsTestMutation.graphql'
import type { endpointRequestsUpdateMutation } from '../__generated__/endpointRequestsUpdateMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const CREATE = graphql`
  mutation endpointRequestsCreateMutation($input: CreateEndpointInput!) {
    createEndpoint(input: $input) {
      ... on CreateEndpointSuccess {
        secret
      }
      ... on EndpointInvalid {
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
  mutation endpointRequestsUpdateMutation($input: UpdateEndpointInput!) {
    updateEndpoint(input: $input) {
      ... on UpdateEndpointSuccess {
        endpoint {
          id
        }
      }
      ... on EndpointInvalid {
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

const ROTATE = graphql`
  mutation endpointRequestsRotateMutation($id: ID!) {
    rotateEndpointSecret(id: $id) {
      ... on RotateEndpointSecretSuccess {
        secret
      }
      ... on UserError {
        message
      }
    }
  }
`

const TEST = graphql`
  mutation endpointRequestsTestMutation($id: ID!) {
    testEndpoint(id: $id) {
      ... on TestEndpointSuccess {
        delivery {
          id
        }
      }
      ... on EndpointInvalid {
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

const DELETE = graphql`
  mutation endpointRequestsDeleteMutation($id: ID!) {
    deleteEndpoint(id: $id) {
      ... on DeleteEndpointSuccess {
        endpointId
      }
      ... on UserError {
        message
      }
    }
  }
`

const REDELIVER_ALL = graphql`
  mutation endpointRequestsRedeliverAllMutation($id: ID!) {
    redeliverAll(endpointId: $id) {
      ... on RedeliverAllSuccess {
        count
      }
      ... on UserError {
        message
      }
    }
  }
`

/** Creates an endpoint, and returns its secret, which cannot be read again. */
export async function createEndpoint(
  environment: Environment,
  input: endpointRequestsCreateMutation['variables']['input'],
): Promise<string> {
  const { createEndpoint: made } = await mutate<endpointRequestsCreateMutation>(environment, CREATE, { input })
  return made.secret ?? refused(made)
}

export async function enableEndpoint(environment: Environment, id: string, enabled: boolean): Promise<void> {
  const variables = { input: { id, enabled } }
  const { updateEndpoint } = await mutate<endpointRequestsUpdateMutation>(environment, UPDATE, variables)
  if (!updateEndpoint.endpoint) refused(updateEndpoint)
}

/** Gives an endpoint a new secret, and returns it. For a day the old one signs, too. */
export async function rotateEndpoint(environment: Environment, id: string): Promise<string> {
  const result = (await mutate<endpointRequestsRotateMutation>(environment, ROTATE, { id })).rotateEndpointSecret
  return result.secret ?? refused(result)
}

export async function testEndpoint(environment: Environment, id: string): Promise<void> {
  const { testEndpoint: tested } = await mutate<endpointRequestsTestMutation>(environment, TEST, { id })
  if (!tested.delivery) refused(tested)
}

export async function deleteEndpoint(environment: Environment, id: string): Promise<void> {
  const { deleteEndpoint: deleted } = await mutate<endpointRequestsDeleteMutation>(environment, DELETE, { id })
  if (!deleted.endpointId) refused(deleted)
}

/** Sends the failed deliveries of an endpoint again. */
export async function redeliverFailed(environment: Environment, id: string): Promise<void> {
  const { redeliverAll } = await mutate<endpointRequestsRedeliverAllMutation>(environment, REDELIVER_ALL, { id })
  if (redeliverAll.count == null) refused(redeliverAll)
}
