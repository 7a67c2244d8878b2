import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { respondMutation } from '../__generated__/respondMutation.graphql'
import { mutate, refused } from './mutate'

// Of a run, a mutation selects nothing that changes: its answer may come after that of a later read.
const RESUME = graphql`
  mutation respondMutation($runId: ID!, $requestId: ID!, $response: JSON!) {
    resumeRun(runId: $runId, requestId: $requestId, response: $response) {
      ... on ResumeRunSuccess {
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

/** Responds to an input request. */
export async function respond(
  environment: Environment,
  runId: string,
  requestId: string,
  response: unknown,
): Promise<void> {
  const variables = { runId, requestId, response }
  const { resumeRun } = await mutate<respondMutation>(environment, RESUME, variables)
  if (!resumeRun.run) refused(resumeRun)
}
