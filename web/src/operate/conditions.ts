/** The conditions of alerts in words. */

import type { AlertCondition } from '../__generated__/alertRequestsCreateMutation.graphql'
import { duration } from '../shared/time'

type Threshold = { label: string; initial: number }

export const CONDITIONS: Record<AlertCondition, { label: string; threshold?: Threshold }> = {
  FAILURE: { label: 'A run failed' },
  NEW_ERROR: { label: 'A run failed with a new error' },
  CONSECUTIVE_FAILURES: { label: 'Runs of a flow failed in a row', threshold: { label: 'Runs in a row', initial: 3 } },
  LATE: {
    label: 'A run or a schedule is late: no worker takes it',
    threshold: { label: 'Milliseconds', initial: 300_000 },
  },
  SLOW: { label: 'A run took longer than usual', threshold: { label: 'Percent of the usual', initial: 200 } },
  ENDPOINT_DISABLED: { label: 'The service has disabled an endpoint' },
}

export function thresholdInWords(condition: AlertCondition, threshold: number | null | undefined): string {
  if (threshold == null) return ''
  switch (condition) {
    case 'LATE':
      return `by ${duration(threshold)}`
    case 'SLOW':
      return `from ${threshold} %`
    default:
      return `from ${threshold}`
  }
}
