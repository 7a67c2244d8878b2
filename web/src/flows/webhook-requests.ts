import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { webhookRequestsAddMutation } from '../__generated__/webhookRequestsAddMutation.graphql'
import type { webhookRequestsDeleteMutation } from '../__generated__/webhookRequestsDeleteMutation.graphql'
import type { webhookRequestsLimitMutation } from '../__generated__/webhookRequestsLimitMutation.graphql'
import type { webhookRequestsReadQuery } from '../__generated__/webhookRequestsReadQuery.graphql'
import type { webhookRequestsRotateMutation } from '../__generated__/webhookRequestsRotateMutation.graphql'
import { mutate, refused } from '../shared/mutate'
import { readAgain } from '../shared/read-again'

const ADD = graphql`
  mutation webhookRequestsAddMutation($flowId: ID!, $name: String!, $input: JSON, $callsPerMinute: Int) {
    createWebhook(flowId: $flowId, name: $name, input: $input, callsPerMinute: $callsPerMinute) {
      ... on CreateWebhookSuccess {
        path
        webhook {
          flow {
            ...webhooks_flow
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const LIMIT = graphql`
  mutation webhookRequestsLimitMutation($id: ID!, $callsPerMinute: Int) {
    updateWebhook(id: $id, callsPerMinute: $callsPerMinute) {
      ... on UpdateWebhookSuccess {
        webhook {
          id
          callsPerMinute
        }
      }
      ... on SettingsInvalid {
        problems {
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
  mutation webhookRequestsRotateMutation($id: ID!) {
    rotateWebhook(id: $id) {
      ... on RotateWebhookSuccess {
        path
        webhook {
          id
          hint
          rotatedAt
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const DELETE = graphql`
  mutation webhookRequestsDeleteMutation($id: ID!) {
    deleteWebhook(id: $id) {
      ... on DeleteWebhookSuccess {
        webhookId
      }
      ... on UserError {
        message
      }
    }
  }
`

const READ = graphql`
  query webhookRequestsReadQuery($flowId: ID!) {
    flow(id: $flowId) {
      ...webhooks_flow
    }
  }
`

type NewWebhook = { name: string; input: string; callsPerMinute: string }

/** Returns the number in a field; null if the field is empty, which means the default of the service. */
const limitOf = (text: string) => (text.trim() ? Number(text) : null)

/** Creates a webhook, and returns its path, which cannot be read again. The input of its runs is a JSON text. */
export async function addWebhook(environment: Environment, flowId: string, webhook: NewWebhook): Promise<string> {
  const { name, input, callsPerMinute } = webhook
  const { createWebhook } = await mutate<webhookRequestsAddMutation>(environment, ADD, {
    flowId,
    name,
    input: input.trim() ? (JSON.parse(input) as unknown) : undefined,
    callsPerMinute: limitOf(callsPerMinute),
  })
  return createWebhook.path ?? refused(createWebhook)
}

/** Sets the calls that a webhook accepts in a minute. */
export async function limitWebhook(environment: Environment, id: string, callsPerMinute: string): Promise<void> {
  const variables = { id, callsPerMinute: limitOf(callsPerMinute) }
  const { updateWebhook } = await mutate<webhookRequestsLimitMutation>(environment, LIMIT, variables)
  if (!updateWebhook.webhook) refused(updateWebhook)
}

/** Replaces the token of a webhook, and returns its new path, which cannot be read again. */
export async function rotateWebhook(environment: Environment, id: string): Promise<string> {
  const { rotateWebhook: rotated } = await mutate<webhookRequestsRotateMutation>(environment, ROTATE, { id })
  return rotated.path ?? refused(rotated)
}

export async function deleteWebhook(environment: Environment, flowId: string, id: string): Promise<void> {
  const { deleteWebhook: deleted } = await mutate<webhookRequestsDeleteMutation>(environment, DELETE, { id })
  if (!deleted.webhookId) refused(deleted)
  await readAgain<webhookRequestsReadQuery>(environment, READ, { flowId }).toPromise()
}
