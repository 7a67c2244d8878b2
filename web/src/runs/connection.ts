/** Changes of the list of runs in Relay's store. */

import { ConnectionHandler, type RecordProxy, type RecordSourceSelectorProxy } from 'relay-runtime'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'

type Variables = runsPageQuery['variables']

export const CONNECTION = 'runsTable_flowRuns'

function find(store: RecordSourceSelectorProxy, { filter, orderBy }: Variables): RecordProxy | null | undefined {
  return ConnectionHandler.getConnection(store.getRoot(), CONNECTION, { filter, orderBy })
}

/**
 * Puts runs where the order wants them, if that is on a page that was loaded. Runs that are there already stay. Lists
 * have thousands of edges, so all runs that change together are put there in one pass.
 */
export function insertRuns(store: RecordSourceSelectorProxy, variables: Variables, runIds: readonly string[]): void {
  const list = find(store, variables)
  const { field, direction } = { field: 'CREATED_AT', direction: 'DESC', ...variables.orderBy }
  if (!list || (field !== 'CREATED_AT' && field !== 'UPDATED_AT')) return
  const isByChange = field === 'UPDATED_AT'
  const edges = (list.getLinkedRecords('edges') ?? []).filter((edge) => edge != null)
  const known = new Set(edges.map(idOf))
  const moving = new Set(runIds.filter((id) => store.get(id) && (isByChange || !known.has(id))))
  if (!moving.size) return

  const key = isByChange ? 'updatedAt' : 'createdAt'
  const others = isByChange ? edges.filter((edge) => !moving.has(idOf(edge))) : edges
  // oxlint-disable-next-line typescript/no-unsafe-assignment -- Relay has no type for values of unknown records
  const hasMore = list.getLinkedRecord('pageInfo')?.getValue('hasNextPage')
  for (const id of moving) {
    const run = store.get(id)!
    const at = placeOf(String(run.getValue(key)), others, key, direction === 'DESC')
    if (at === others.length && hasMore) continue
    others.splice(at, 0, ConnectionHandler.createEdge(store, list, run, 'FlowRunEdge'))
  }
  list.setLinkedRecords(others, 'edges')
}

export function removeRuns(store: RecordSourceSelectorProxy, variables: Variables, runIds: ReadonlySet<string>): void {
  const list = find(store, variables)
  const edges = list?.getLinkedRecords('edges')?.filter((edge) => edge != null)
  if (edges?.some((edge) => runIds.has(idOf(edge))))
    list?.setLinkedRecords(
      edges.filter((edge) => !runIds.has(idOf(edge))),
      'edges',
    )
}

function idOf(edge: RecordProxy): string {
  return edge.getLinkedRecord('node')?.getDataID() ?? ''
}

/** The index of the first edge that does not come before `value`. Times of the service have one format, so texts order them. */
function placeOf(value: string, edges: readonly RecordProxy[], key: string, isDescending: boolean): number {
  let [low, high] = [0, edges.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = String(edges[middle]!.getLinkedRecord('node')?.getValue(key))
    if (isDescending ? other > value : other < value) low = middle + 1
    else high = middle
  }
  return low
}
