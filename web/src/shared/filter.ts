/** The filter of a list of runs as the address of the page holds it: the names are those of `FlowRunFilter`. */

import type { FlowRunFilter } from '../__generated__/runsPageQuery.graphql'
import type { Order } from './order'

export type { FlowRunFilter }

const KINDS = {
  projectIds: 'list',
  ids: 'list',
  statuses: 'list',
  waitingFor: 'list',
  flowIds: 'list',
  flowVersionIds: 'list',
  environments: 'list',
  triggerMethods: 'list',
  tags: 'list',
  anyTags: 'list',
  externalIds: 'list',
  sources: 'list',
  scheduleIds: 'list',
  webhookIds: 'list',
  failedStepName: 'text',
  errorContains: 'text',
  errorFingerprint: 'text',
  search: 'text',
  createdWithin: 'text',
  createdAfter: 'text',
  createdBefore: 'text',
  startedWithin: 'text',
  startedAfter: 'text',
  startedBefore: 'text',
  finishedWithin: 'text',
  finishedAfter: 'text',
  finishedBefore: 'text',
  updatedWithin: 'text',
  updatedAfter: 'text',
  updatedBefore: 'text',
  minDurationMs: 'number',
  maxDurationMs: 'number',
  metadata: 'json',
  metadataConditions: 'json',
  archived: 'text',
  includeArchived: 'flag',
  unrecovered: 'flag',
  rootsOnly: 'flag',
  parentRunId: 'text',
  rootRunId: 'text',
  retryOfId: 'text',
  rerunOfId: 'text',
  not: 'json',
  or: 'json',
} as const satisfies Record<keyof FlowRunFilter, 'list' | 'text' | 'number' | 'flag' | 'json'>

export type FilterField = keyof typeof KINDS
export type RunsFilter = FlowRunFilter
/** `view` is the ID of the saved view from which the filter comes. */
export type RunsSearch = RunsFilter & { orderBy?: Order; view?: string }

export const FILTER_FIELDS = Object.keys(KINDS) as FilterField[]

/** Reads the search of an address. Fields that are no filter stay texts. */
export function parseSearch(search: string): Record<string, unknown> {
  const parameters = new URLSearchParams(search)
  const parsed: Record<string, unknown> = {}
  for (const name of new Set(parameters.keys())) {
    const values = parameters.getAll(name)
    const value = readValue((KINDS as Record<string, string>)[name] ?? 'text', values)
    if (value !== undefined) parsed[name] = value
  }
  return parsed
}

function readValue(kind: string, values: string[]): unknown {
  const [first = ''] = values
  switch (kind) {
    case 'list':
      return values
    case 'number':
      return Number.isFinite(Number(first)) ? Number(first) : undefined
    case 'flag':
      return first === 'true' || undefined
    case 'json':
      try {
        return JSON.parse(first) as unknown
      } catch {
        return undefined
      }
    default:
      return first || undefined
  }
}

export function stringifySearch(search: Record<string, unknown>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(search)) {
    if (value === undefined || value === null || value === '') continue
    const kind = (KINDS as Record<string, string>)[name]
    if (kind === 'json') parameters.set(name, JSON.stringify(value))
    else for (const item of Array.isArray(value) ? value : [value]) parameters.append(name, String(item))
  }
  const text = parameters.toString()
  return text && `?${text}`
}

/** The filter that a search holds, without what is not one. */
export function filterOf(search: RunsSearch): RunsFilter {
  return Object.fromEntries(
    FILTER_FIELDS.filter((field) => search[field] !== undefined).map((field) => [field, search[field]]),
  )
}

/** Whether a search restricts the list. */
export function isFiltered(search: RunsSearch): boolean {
  return FILTER_FIELDS.some((field) => search[field] !== undefined)
}

/** A list for the address: one without items would match no run. */
export function listOf<T>(values: readonly T[]): T[] | undefined {
  return values.length ? [...values] : undefined
}
