import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { requestsArchiveMutation } from '../__generated__/requestsArchiveMutation.graphql'
import type { requestsCancelMutation } from '../__generated__/requestsCancelMutation.graphql'
import type { requestsFailedMutation } from '../__generated__/requestsFailedMutation.graphql'
import type { requestsRetryMutation, RetryStrategy } from '../__generated__/requestsRetryMutation.graphql'
import type { requestsStopMutation } from '../__generated__/requestsStopMutation.graphql'
import type { requestsUnarchiveMutation } from '../__generated__/requestsUnarchiveMutation.graphql'
import type { RunsFilter } from '../shared/filter'
import { mutate, refused, type Refusal } from '../shared/mutate'
import type { BulkKind } from './kinds'
import type { Plan } from './plan-summary'

const RETRY = graphql`
  mutation requestsRetryMutation(
    $filter: FlowRunFilter
    $excludeIds: [ID!]
    $dryRun: Boolean!
    $planId: ID
    $strategy: RetryStrategy
    $maxPerSecond: Float
  ) {
    result: bulkRetry(
      filter: $filter
      excludeIds: $excludeIds
      dryRun: $dryRun
      planId: $planId
      strategy: $strategy
      maxPerSecond: $maxPerSecond
    ) {
      ... on BulkOperationSuccess {
        operation {
          id
          plan {
            ...requests_plan @relay(mask: false)
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const CANCEL = graphql`
  mutation requestsCancelMutation($filter: FlowRunFilter, $excludeIds: [ID!], $dryRun: Boolean!, $planId: ID) {
    result: bulkCancel(filter: $filter, excludeIds: $excludeIds, dryRun: $dryRun, planId: $planId) {
      ... on BulkOperationSuccess {
        operation {
          id
          plan {
            ...requests_plan @relay(mask: false)
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const ARCHIVE = graphql`
  mutation requestsArchiveMutation($filter: FlowRunFilter, $excludeIds: [ID!], $dryRun: Boolean!, $planId: ID) {
    result: bulkArchive(filter: $filter, excludeIds: $excludeIds, dryRun: $dryRun, planId: $planId) {
      ... on BulkOperationSuccess {
        operation {
          id
          plan {
            ...requests_plan @relay(mask: false)
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
  mutation requestsUnarchiveMutation(
    $filter: FlowRunFilter
    $excludeIds: [ID!]
    $dryRun: Boolean!
    $planId: ID
    $operationId: ID
  ) {
    result: bulkUnarchive(
      filter: $filter
      excludeIds: $excludeIds
      dryRun: $dryRun
      planId: $planId
      operationId: $operationId
    ) {
      ... on BulkOperationSuccess {
        operation {
          id
          plan {
            ...requests_plan @relay(mask: false)
          }
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

export const PLAN = graphql`
  fragment requests_plan on BulkPlan {
    planId
    eligible
    expiresAt
    ineligible {
      reason
      count
    }
    sample {
      runId
      plannedReason
      run {
        status
        flow {
          name
        }
      }
    }
  }
`

const RETRY_FAILED = graphql`
  mutation requestsFailedMutation($failedOf: ID!) {
    result: bulkRetry(failedOf: $failedOf) {
      ... on BulkOperationSuccess {
        operation {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const STOP = graphql`
  mutation requestsStopMutation($id: ID!) {
    cancelBulkOperation(id: $id) {
      ... on CancelBulkOperationSuccess {
        operation {
          id
          status
          finishedAt
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

type Variables = {
  filter?: RunsFilter
  excludeIds?: string[]
  strategy?: RetryStrategy
  dryRun: boolean
  planId?: string
  maxPerSecond?: number | null
}
type Result = { readonly operation?: { readonly id: string; readonly plan: Plan | null | undefined } } & Refusal

async function send(environment: Environment, kind: BulkKind, variables: Variables): Promise<Result> {
  switch (kind) {
    case 'RETRY':
      return (await mutate<requestsRetryMutation>(environment, RETRY, variables)).result
    case 'CANCEL':
      return (await mutate<requestsCancelMutation>(environment, CANCEL, variables)).result
    case 'ARCHIVE':
      return (await mutate<requestsArchiveMutation>(environment, ARCHIVE, variables)).result
    case 'UNARCHIVE':
      return (await mutate<requestsUnarchiveMutation>(environment, UNARCHIVE, variables)).result
  }
}

type Runs = { filter: RunsFilter; excludeIds: string[]; strategy: RetryStrategy }

/** Does a dry run, and returns the plan that it makes. */
export async function planOf(environment: Environment, kind: BulkKind, runs: Runs): Promise<Plan> {
  const { filter, excludeIds } = runs
  const chosen = kind === 'RETRY' ? runs : { filter, excludeIds }
  const result = await send(environment, kind, { ...chosen, dryRun: true })
  return result.operation?.plan ?? refused(result)
}

/** Executes a plan, and returns the ID of the operation. */
export async function executePlan(
  environment: Environment,
  kind: BulkKind,
  planId: string,
  maxPerSecond: number | null,
): Promise<string> {
  const pace = kind === 'RETRY' ? { maxPerSecond } : {}
  const result = await send(environment, kind, { planId, dryRun: false, ...pace })
  return result.operation?.id ?? refused(result)
}

/** Retries the runs that failed in a bulk retry, and returns the ID of the new operation. */
export async function retryFailed(environment: Environment, failedOf: string): Promise<string> {
  const { result } = await mutate<requestsFailedMutation>(environment, RETRY_FAILED, { failedOf })
  return result.operation?.id ?? refused(result)
}

/** Undoes a bulk archive, and returns the ID of the operation that does so. */
export async function undoArchive(environment: Environment, operationId: string): Promise<string> {
  const variables = { operationId, dryRun: false }
  const { result } = await mutate<requestsUnarchiveMutation>(environment, UNARCHIVE, variables)
  return result.operation?.id ?? refused(result)
}

/** Cancels an operation, and returns its ID: runs that it has not reached stay as they are. */
export async function stopOperation(environment: Environment, id: string): Promise<string> {
  const { cancelBulkOperation: result } = await mutate<requestsStopMutation>(environment, STOP, { id })
  return result.operation?.id ?? refused(result)
}
