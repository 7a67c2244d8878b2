/** The filter of the inbox as the address of the page holds it. */

import type { InputRequestFilter, InputRequestStatus } from '../__generated__/inboxPageQuery.graphql'

export const REQUEST_STATUSES: readonly InputRequestStatus[] = ['PENDING', 'ANSWERED', 'EXPIRED', 'CANCELLED']

export type InboxSearch = {
  /** A status, or ALL. Default: PENDING. */
  status?: string
  assignee?: string
  /** `true`: only questions to no particular person. */
  unassigned?: string
  flowIds?: string[]
  /** Asked earlier than this before now, a duration in ISO 8601. */
  olderThan?: string
  /** Expires within this from now, a duration in ISO 8601. */
  expiresWithin?: string
  /** The question that is shown. */
  request?: string
}

export function filterOf(search: InboxSearch): InputRequestFilter {
  const status = REQUEST_STATUSES.find((it) => it === (search.status ?? 'PENDING'))
  return {
    statuses: status ? [status] : null,
    assignees: search.assignee ? [search.assignee] : null,
    unassigned: search.unassigned === 'true' || null,
    flowIds: search.flowIds?.length ? search.flowIds : null,
    olderThan: search.olderThan ?? null,
    expiresWithin: search.expiresWithin ?? null,
  }
}

/** True if time alone changes what matches. */
export function dependsOnTime({ olderThan, expiresWithin }: InboxSearch): boolean {
  return Boolean(olderThan || expiresWithin)
}
