import type { FlowRunStatus } from '../__generated__/runsPageQuery.graphql'

export type { FlowRunStatus }

export const STATUSES: FlowRunStatus[] = [
  'QUEUED',
  'RUNNING',
  'PAUSED',
  'SUCCEEDED',
  'FAILED',
  'TIMEOUT',
  'QUOTA_EXCEEDED',
  'INTERNAL_ERROR',
  'STOPPED',
]

const LIVE = new Set<string>(['QUEUED', 'RUNNING', 'PAUSED'])

export function isLive(status: string): boolean {
  return LIVE.has(status)
}

/** A value of an enumeration as people write it. */
export function words(value: string): string {
  const text = value.charAt(0) + value.slice(1).toLowerCase().replaceAll('_', ' ')
  return text.replace(/\bapi\b/i, 'API')
}

/** The colour of a status, of a run or of a step, as a variable that the theme sets. */
export function statusColour(status: string): string {
  return `var(--status-${status.toLowerCase().replaceAll('_', '-')})`
}

export function Status({ status }: { status: string }) {
  return (
    <span className="status" data-live={isLive(status) || undefined}>
      <span className="status-mark" data-status={status} style={{ background: statusColour(status) }} aria-hidden />
      {words(status)}
    </span>
  )
}
