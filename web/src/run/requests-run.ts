import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { requestsRunArchiveMutation } from '../__generated__/requestsRunArchiveMutation.graphql'
import type { requestsRunCancelMutation } from '../__generated__/requestsRunCancelMutation.graphql'
import type { requestsRunUnarchiveMutation } from '../__generated__/requestsRunUnarchiveMutation.graphql'
import { mutate, refused } from '../shared/mutate'

// Of a run, a mutation selects nothing that changes: its answer may come after that of a later read.
const CANCEL = graphql`
  mutation requestsRunCancelMutation($runId: ID!) {
    cancel(runId: $runId) {
      ... on CancelSuccess {
        run {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const ARCHIVE = graphql`
  mutation requestsRunArchiveMutation($ids: [ID!]!) {
    bulkArchive(filter: { ids: $ids }) {
      ... on BulkOperationSuccess {
        operation {
          outcomes(first: 1) {
            nodes {
              run {
                id
                archivedAt
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

const UNARCHIVE = graphql`
  mutation requestsRunUnarchiveMutation($ids: [ID!]!) {
    bulkUnarchive(filter: { ids: $ids }) {
      ... on BulkOperationSuccess {
        operation {
          outcomes(first: 1) {
            nodes {
              run {
                id
                archivedAt
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

export async function cancel(environment: Environment, runId: string): Promise<void> {
  const result = (await mutate<requestsRunCancelMutation>(environment, CANCEL, { runId })).cancel
  if (!result.run) refused(result)
}

export async function archive(environment: Environment, runId: string): Promise<void> {
  const { bulkArchive } = await mutate<requestsRunArchiveMutation>(environment, ARCHIVE, { ids: [runId] })
  if (!bulkArchive.operation) refused(bulkArchive)
}

export async function unarchive(environment: Environment, runId: string): Promise<void> {
  const { bulkUnarchive } = await mutate<requestsRunUnarchiveMutation>(environment, UNARCHIVE, { ids: [runId] })
  if (!bulkUnarchive.operation) refused(bulkUnarchive)
}
