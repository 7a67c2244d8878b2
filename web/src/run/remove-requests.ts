import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { removeRequestsDeleteMutation } from '../__generated__/removeRequestsDeleteMutation.graphql'
import type { removeRequestsEraseMutation } from '../__generated__/removeRequestsEraseMutation.graphql'
import { mutate, refused } from '../shared/mutate'
import { words } from '../shared/status'

export type Removal = 'ERASE' | 'DELETE'

const ERASE = graphql`
  mutation removeRequestsEraseMutation($ids: [ID!]!, $waitMs: Int!) {
    result: bulkErase(filter: { ids: $ids }, waitMs: $waitMs) {
      ... on BulkOperationSuccess {
        operation {
          id
          outcomes(first: 1) {
            nodes {
              result
              reason
              run {
                id
                erasedAt
              }
            }
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const DELETE = graphql`
  mutation removeRequestsDeleteMutation($ids: [ID!]!, $waitMs: Int!) {
    result: bulkDelete(filter: { ids: $ids }, waitMs: $waitMs) {
      ... on BulkOperationSuccess {
        operation {
          id
          outcomes(first: 1) {
            nodes {
              result
              reason
            }
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

/** The longest that the service waits. A family of many runs can take longer. */
const WAIT_MS = 60_000

const REASONS: Record<string, string> = {
  FAMILY_NOT_FINAL: 'A run of its family is live.',
  RETRY_UNDER_WAY: 'A retry or rerun of it is live.',
  RUN_ALREADY_ERASED: 'It is erased already.',
  RUN_NOT_FINAL: 'It is live.',
}

/**
 * Erases or deletes one run, and waits for the outcome: rejects with its reason if the run stays as it is. Returns the
 * ID of the operation if that has not ended by then, else null.
 */
export async function remove(environment: Environment, kind: Removal, runId: string): Promise<string | null> {
  const variables = { ids: [runId], waitMs: WAIT_MS }
  const { result } =
    kind === 'ERASE'
      ? await mutate<removeRequestsEraseMutation>(environment, ERASE, variables)
      : await mutate<removeRequestsDeleteMutation>(environment, DELETE, variables)
  if (!result.operation) return refused(result)
  const [outcome] = result.operation.outcomes.nodes
  if (outcome?.result === 'PENDING') return result.operation.id
  if (outcome?.result === 'SUCCEEDED') return null
  const reason = outcome?.reason ?? 'The run does not exist any more.'
  throw new Error(`Nothing was changed. ${REASONS[reason] ?? words(reason)}`)
}
