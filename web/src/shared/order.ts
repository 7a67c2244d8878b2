/** The orders of a list of runs, as the address of the page names them. */

import type { FlowRunOrder } from '../__generated__/runsPageQuery.graphql'

export const ORDERS = {
  NEWEST: { label: 'Newest first', field: 'CREATED_AT', direction: 'DESC' },
  OLDEST: { label: 'Oldest first', field: 'CREATED_AT', direction: 'ASC' },
  LAST_CHANGED: { label: 'Last changed first', field: 'UPDATED_AT', direction: 'DESC' },
  FIRST_CHANGED: { label: 'First changed first', field: 'UPDATED_AT', direction: 'ASC' },
  LONGEST: { label: 'Longest first', field: 'DURATION', direction: 'DESC' },
  SHORTEST: { label: 'Shortest first', field: 'DURATION', direction: 'ASC' },
  LAST_STARTED: { label: 'Last started first', field: 'STARTED_AT', direction: 'DESC' },
  FIRST_STARTED: { label: 'First started first', field: 'STARTED_AT', direction: 'ASC' },
  LAST_FINISHED: { label: 'Last finished first', field: 'FINISHED_AT', direction: 'DESC' },
  FIRST_FINISHED: { label: 'First finished first', field: 'FINISHED_AT', direction: 'ASC' },
} as const satisfies Record<string, FlowRunOrder & { label: string }>

export type Order = keyof typeof ORDERS

const DEFAULT: Order = 'NEWEST'

/** The order as the API takes it. Names that an address may hold and that are none count as the default. */
export function orderOf(order: Order = DEFAULT): Required<FlowRunOrder> {
  const { field, direction } = ORDERS[order] ?? ORDERS[DEFAULT]
  return { field, direction }
}

/** The name of an order for the address; undefined for the default. */
export function orderNamed({ field, direction }: FlowRunOrder): Order | undefined {
  const named = Object.entries(ORDERS).find(([, it]) => it.field === field && it.direction === direction)?.[0] as Order
  return named === DEFAULT ? undefined : named
}
