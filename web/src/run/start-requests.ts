import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { startRequestsCompleteMutation } from '../__generated__/startRequestsCompleteMutation.graphql'
import type { startRequestsRerunMutation } from '../__generated__/startRequestsRerunMutation.graphql'
import type { RetryStrategy, startRequestsRetryMutation } from '../__generated__/startRequestsRetryMutation.graphql'
import { mutate, refused } from '../shared/mutate'

// Of a run, a mutation selects nothing that changes: its answer may come after that of a later read.
const RETRY = graphql`
  mutation startRequestsRetryMutation(
    $runId: ID!
    $strategy: RetryStrategy!
    $stepName: String
    $input: JSON
    $force: Boolean!
  ) {
    retry(runId: $runId, strategy: $strategy, stepName: $stepName, input: $input, force: $force) {
      ... on RetrySuccess {
        run {
          id
        }
      }
      ... on InputInvalid {
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

const RERUN = graphql`
  mutation startRequestsRerunMutation($runId: ID!, $stepName: String, $input: JSON, $force: Boolean!) {
    rerun(runId: $runId, stepName: $stepName, input: $input, force: $force) {
      ... on RerunSuccess {
        run {
          id
        }
      }
      ... on InputInvalid {
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

const COMPLETE = graphql`
  mutation startRequestsCompleteMutation(
    $runId: ID!
    $stepName: String!
    $output: JSON
    $skip: Boolean!
    $note: String
  ) {
    completeStep(runId: $runId, stepName: $stepName, output: $output, skip: $skip, note: $note) {
      ... on CompleteStepSuccess {
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

export type Start = {
  stepName?: string
  /** Another input; undefined: that of the run. */
  input?: unknown
  /** True: also if the run has been retried or rerun already. */
  force?: boolean
}

/** Retries a run, and returns the ID of the new one. */
export async function retry(
  environment: Environment,
  runId: string,
  strategy: RetryStrategy,
  { stepName, input, force = false }: Start = {},
): Promise<string> {
  const variables = { runId, strategy, stepName, input, force }
  const result = (await mutate<startRequestsRetryMutation>(environment, RETRY, variables)).retry
  return result.run?.id ?? refused(result)
}

/** Runs a run again as a new operation, and returns the ID of the new one. */
export async function rerun(
  environment: Environment,
  runId: string,
  { stepName, input, force = false }: Start,
): Promise<string> {
  const variables = { runId, stepName, input, force }
  const result = (await mutate<startRequestsRerunMutation>(environment, RERUN, variables)).rerun
  return result.run?.id ?? refused(result)
}

export type Completion = { stepName: string; output: unknown; skip: boolean; note: string | null }

/** Completes the step at which a run ended, and returns the ID of the run that continues. */
export async function completeStep(environment: Environment, runId: string, completion: Completion): Promise<string> {
  const variables = { runId, ...completion }
  const result = (await mutate<startRequestsCompleteMutation>(environment, COMPLETE, variables)).completeStep
  return result.run?.id ?? refused(result)
}
