import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { keyRequestsCreateMutation } from '../__generated__/keyRequestsCreateMutation.graphql'
import type { keyRequestsRevokeMutation } from '../__generated__/keyRequestsRevokeMutation.graphql'
import type { keyRequestsRotateMutation } from '../__generated__/keyRequestsRotateMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const CREATE = graphql`
  mutation keyRequestsCreateMutation(
    $name: String!
    $role: Role!
    $expiresIn: String
    $payloads: Boolean!
    $projectId: ID
  ) {
    createApiKey(name: $name, role: $role, expiresIn: $expiresIn, payloads: $payloads, projectId: $projectId) {
      ... on CreateApiKeySuccess {
        secret
      }
      ... on UserError {
        message
      }
    }
  }
`

const ROTATE = graphql`
  mutation keyRequestsRotateMutation($id: ID!, $overlap: String!) {
    rotateApiKey(id: $id, overlap: $overlap) {
      ... on RotateApiKeySuccess {
        secret
      }
      ... on UserError {
        message
      }
    }
  }
`

const REVOKE = graphql`
  mutation keyRequestsRevokeMutation($id: ID!) {
    revokeApiKey(id: $id) {
      ... on RevokeApiKeySuccess {
        apiKey {
          id
          revokedAt
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

/** Creates an API key, and returns its secret, which cannot be read again. */
export async function createKey(
  environment: Environment,
  variables: keyRequestsCreateMutation['variables'],
): Promise<string> {
  const { createApiKey } = await mutate<keyRequestsCreateMutation>(environment, CREATE, variables)
  return createApiKey.secret ?? refused(createApiKey)
}

/** Replaces an API key, and returns the secret of the new one. */
export async function rotateKey(environment: Environment, id: string, overlap: string): Promise<string> {
  const { rotateApiKey } = await mutate<keyRequestsRotateMutation>(environment, ROTATE, { id, overlap })
  return rotateApiKey.secret ?? refused(rotateApiKey)
}

export async function revokeKey(environment: Environment, id: string): Promise<void> {
  const { revokeApiKey } = await mutate<keyRequestsRevokeMutation>(environment, REVOKE, { id })
  if (!revokeApiKey.apiKey) refused(revokeApiKey)
}
