import { graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { scheduleRequestsAddMutation } from '../__generated__/scheduleRequestsAddMutation.graphql'
import type { scheduleRequestsEnableMutation } from '../__generated__/scheduleRequestsEnableMutation.graphql'
import type { scheduleRequestsReadQuery } from '../__generated__/scheduleRequestsReadQuery.graphql'
import type { scheduleRequestsRemoveMutation } from '../__generated__/scheduleRequestsRemoveMutation.graphql'
import { mutate, refused } from '../shared/mutate'
import { readAgain } from '../shared/read-again'

const ADD = graphql`
  mutation scheduleRequestsAddMutation($input: CreateScheduleInput!) {
    createSchedule(input: $input) {
      ... on CreateScheduleSuccess {
        schedule {
          flow {
            ...schedules_flow
          }
        }
      }
      ... on ScheduleInvalid {
        problems {
          message
        }
      }
      ... on InputInvalid {
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

const ENABLE = graphql`
  mutation scheduleRequestsEnableMutation($input: UpdateScheduleInput!) {
    updateSchedule(input: $input) {
      ... on UpdateScheduleSuccess {
        schedule {
          id
          enabled
          nextFires(count: 3)
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

const REMOVE = graphql`
  mutation scheduleRequestsRemoveMutation($id: ID!) {
    deleteSchedule(id: $id) {
      ... on DeleteScheduleSuccess {
        scheduleId
      }
      ... on UserError {
        message
      }
    }
  }
`

const READ = graphql`
  query scheduleRequestsReadQuery($flowId: ID!) {
    flow(id: $flowId) {
      ...schedules_flow
    }
  }
`

type NewSchedule = { cron: string; timeZone: string; input: string }

/** Creates a schedule; the input of its runs is a JSON text. */
export async function addSchedule(environment: Environment, flowId: string, schedule: NewSchedule): Promise<void> {
  const input = {
    ...schedule,
    flowId,
    input: JSON.parse(schedule.input) as unknown,
    enabled: true,
    environment: 'PRODUCTION',
    missedFires: 'SKIP',
    tags: [],
  } as const
  const { createSchedule } = await mutate<scheduleRequestsAddMutation>(environment, ADD, { input })
  if (createSchedule.schedule) return
  const [problem] = createSchedule.problems ?? []
  refused(problem ?? createSchedule)
}

export async function enableSchedule(environment: Environment, id: string, enabled: boolean): Promise<void> {
  const { updateSchedule } = await mutate<scheduleRequestsEnableMutation>(environment, ENABLE, { input: { id, enabled } })
  if (!updateSchedule.schedule) refused(updateSchedule)
}

export async function removeSchedule(environment: Environment, flowId: string, id: string): Promise<void> {
  const { deleteSchedule } = await mutate<scheduleRequestsRemoveMutation>(environment, REMOVE, { id })
  if (!deleteSchedule.scheduleId) refused(deleteSchedule)
  await readAgain<scheduleRequestsReadQuery>(environment, READ, { flowId }).toPromise()
}
