import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { holdRequestsHoldFlowMutation } from '../__generated__/holdRequestsHoldFlowMutation.graphql'
import type { holdRequestsHoldProjectMutation } from '../__generated__/holdRequestsHoldProjectMutation.graphql'
import type { holdRequestsReleaseFlowMutation } from '../__generated__/holdRequestsReleaseFlowMutation.graphql'
import type { holdRequestsReleaseProjectMutation } from '../__generated__/holdRequestsReleaseProjectMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const HOLD_FLOW = graphql`
  mutation holdRequestsHoldFlowMutation($id: ID!, $reason: String) {
    holdFlow(flowId: $id, reason: $reason) {
      ... on HoldFlowSuccess {
        flow {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const HOLD_PROJECT = graphql`
  mutation holdRequestsHoldProjectMutation($id: ID!, $reason: String) {
    holdProject(projectId: $id, reason: $reason) {
      ... on HoldProjectSuccess {
        project {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const RELEASE_FLOW = graphql`
  mutation holdRequestsReleaseFlowMutation($id: ID!) {
    releaseFlow(flowId: $id) {
      ... on ReleaseFlowSuccess {
        flow {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const RELEASE_PROJECT = graphql`
  mutation holdRequestsReleaseProjectMutation($id: ID!) {
    releaseProject(projectId: $id) {
      ... on ReleaseProjectSuccess {
        project {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

type Kind = 'project' | 'flow'

/** Holds the starts of a project or a flow. */
export async function hold(environment: Environment, kind: Kind, id: string, reason: string | null): Promise<void> {
  if (kind === 'flow') {
    const { holdFlow } = await mutate<holdRequestsHoldFlowMutation>(environment, HOLD_FLOW, { id, reason })
    if (!holdFlow.flow) refused(holdFlow)
  } else {
    const { holdProject } = await mutate<holdRequestsHoldProjectMutation>(environment, HOLD_PROJECT, { id, reason })
    if (!holdProject.project) refused(holdProject)
  }
}

/** Lets the runs of a project or a flow start again. */
export async function release(environment: Environment, kind: Kind, id: string): Promise<void> {
  if (kind === 'flow') {
    const { releaseFlow } = await mutate<holdRequestsReleaseFlowMutation>(environment, RELEASE_FLOW, { id })
    if (!releaseFlow.flow) refused(releaseFlow)
  } else {
    const { releaseProject } = await mutate<holdRequestsReleaseProjectMutation>(environment, RELEASE_PROJECT, { id })
    if (!releaseProject.project) refused(releaseProject)
  }
}
