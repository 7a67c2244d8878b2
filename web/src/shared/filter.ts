/** The filter of a list of runs as the address of the page holds it: the names are those of `FlowRunFilter`. */

import type { FlowRunFilter, FlowRunOrderField } from '../__generated__/runsPageQuery.graphql'

export type { FlowRunFilter, FlowRunOrderField }

const KINDS = {
  ids: 'list',
  statuses: 'list',
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
  createdWithin: 'text',
  createdAfter: 'text',
  createdBefore: 'text',
  startedAfter: 'text',
  startedBefore: 'text',
  finishedWithin: 'text',
  finishedAfter: 'text',
  finishedBefore: 'text',
  updatedWithin: 'text',
  minDurationMs: 'number',
  maxDurationMs: 'number',
  metadataConditions: 'json',
  archived: 'text',
  unrecovered: 'flag',
  rootsOnly: 'flag',
  parentRunId: 'text',
  rootRunId: 'text',
  retryOfId: 'text',
} as const satisfies Partial<Record<keyof FlowRunFilter, 'list' | 'text' | 'number' | 'flag' | 'json'>>

export type FilterField = keyof typeof KINDS
export type RunsFilter = Partial<Pick<FlowRunFilter, FilterField>>
export type RunsSearch = RunsFilter & { orderBy?: Order }
export type Order = 'NEWEST' | 'OLDEST' | 'LONGEST' | 'LAST_CHANGED'

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
  return Object.fromEntries(Object.entries(search).filter(([name, value]) => name in KINDS && value !== undefined))
}

export function orderOf(order: Order = 'NEWEST'): { field: FlowRunOrderField; direction: 'ASC' | 'DESC' } {
  switch (order) {
    case 'NEWEST':
      return { field: 'CREATED_AT', direction: 'DESC' }
    case 'OLDEST':
      return { field: 'CREATED_AT', direction: 'ASC' }
    case 'LONGEST':
      return { field: 'DURATION', direction: 'DESC' }
    case 'LAST_CHANGED':
      return { field: 'UPDATED_AT', direction: 'DESC' }
  }
}
