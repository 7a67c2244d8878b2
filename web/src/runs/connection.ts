/** Changes of the list of runs in Relay's store. */

import { ConnectionHandler, type RecordProxy, type RecordSourceSelectorProxy } from 'relay-runtime'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'

type Variables = runsPageQuery['variables']

export const CONNECTION = 'runsTable_flowRuns'

function find(store: RecordSourceSelectorProxy, { filter, orderBy }: Variables): RecordProxy | null | undefined {
  return ConnectionHandler.getConnection(store.getRoot(), CONNECTION, { filter, orderBy })
}

/** Puts a run where the order wants it, if that is on a page that was loaded. A run that is there already stays. */
export function insertRun(store: RecordSourceSelectorProxy, variables: Variables, runId: string): void {
  const list = find(store, variables)
  const run = store.get(runId)
  if (!list || !run) return
  const { field, direction } = { field: 'CREATED_AT', direction: 'DESC', ...variables.orderBy }
  const edges = (list.getLinkedRecords('edges') ?? []).filter((edge) => edge != null)
  const isThere = edges.some((edge) => edge.getLinkedRecord('node')?.getDataID() === runId)
  if (field === 'UPDATED_AT' ? false : isThere || field !== 'CREATED_AT') return

  const key = field === 'UPDATED_AT' ? 'updatedAt' : 'createdAt'
  const others = isThere ? edges.filter((edge) => edge.getLinkedRecord('node')?.getDataID() !== runId) : edges
  const value = String(run.getValue(key))
  const sign = direction === 'DESC' ? 1 : -1
  const found = others.findIndex((edge) => {
    const other = String(edge.getLinkedRecord('node')?.getValue(key))
    return sign * other.localeCompare(value) <= 0
  })
  const at = found < 0 ? others.length : found
  // oxlint-disable-next-line typescript/no-unsafe-assignment -- Relay has no type for values of unknown records
  const hasMore = list.getLinkedRecord('pageInfo')?.getValue('hasNextPage')
  if (at === others.length && hasMore) return
  const edge = ConnectionHandler.createEdge(store, list, run, 'FlowRunEdge')
  list.setLinkedRecords([...others.slice(0, at), edge, ...others.slice(at)], 'edges')
}

export function removeRun(store: RecordSourceSelectorProxy, variables: Variables, runId: string): void {
  const list = find(store, variables)
  if (list) ConnectionHandler.deleteNode(list, runId)
}
