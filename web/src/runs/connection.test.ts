import { describe, expect, test } from 'vitest'
import {
  commitLocalUpdate,
  ConnectionHandler,
  createOperationDescriptor,
  Environment,
  getRequest,
  Network,
  RecordSource,
  Store,
  type RecordSourceSelectorProxy,
} from 'relay-runtime'
import RUNS from '../__generated__/runsPageQuery.graphql'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'
import { CONNECTION, insertRuns, removeRuns } from './connection'

type Variables = runsPageQuery['variables']

const NEWEST: Variables = { filter: {}, orderBy: { field: 'CREATED_AT', direction: 'DESC' }, count: 3 }
const OLDEST: Variables = { ...NEWEST, orderBy: { field: 'CREATED_AT', direction: 'ASC' } }
const LAST_CHANGED: Variables = { ...NEWEST, orderBy: { field: 'UPDATED_AT', direction: 'DESC' } }
const LONGEST: Variables = { ...NEWEST, orderBy: { field: 'DURATION', direction: 'DESC' } }

const at = (minute: number) => `2026-01-01T00:${String(minute).padStart(2, '0')}:00.000000Z`
const node = (id: string, minute: number) => ({
  __typename: 'FlowRun',
  id,
  createdAt: at(minute),
  updatedAt: at(minute),
})

/** A store in which the service's answer to the list's query is. */
async function listOf(variables: Variables, minutes: number[], hasNextPage: boolean) {
  const edges = minutes.map((minute) => ({ __typename: 'FlowRunEdge', cursor: `c${minute}`, node: node(`${minute}`, minute) }))
  const pageInfo = { hasNextPage, endCursor: `c${minutes.at(-1)}` }
  const answer = { data: { flowRuns: { __typename: 'FlowRunConnection', edges, pageInfo } } }
  const environment = new Environment({
    network: Network.create(() => Promise.resolve(answer)),
    store: new Store(new RecordSource()),
    // Of a run the answer has only what the order of the list depends on.
    treatMissingFieldsAsNull: true,
  })
  const operation = createOperationDescriptor(getRequest(RUNS), variables)
  environment.retain(operation)
  await environment.execute({ operation }).toPromise()

  const change = (work: (store: RecordSourceSelectorProxy) => void) =>
    commitLocalUpdate(environment, (store) => work(store as RecordSourceSelectorProxy))
  return {
    /** A run that changed, or came to be, `minute` minutes after the hour. */
    put: (id: string, minute: number, created = minute) =>
      change((store) => {
        const run = store.get(id) ?? store.create(id, 'FlowRun')
        run.setValue(id, 'id').setValue(at(created), 'createdAt').setValue(at(minute), 'updatedAt')
        insertRuns(store, variables, [id])
      }),
    remove: (id: string) => change((store) => removeRuns(store, variables, new Set([id]))),
    ids: () => {
      let ids: (string | undefined)[] = []
      change((store) => {
        const { filter, orderBy } = variables
        const list = ConnectionHandler.getConnection(store.getRoot(), CONNECTION, { filter, orderBy })
        ids = (list?.getLinkedRecords('edges') ?? []).map((edge) => edge?.getLinkedRecord('node')?.getDataID())
      })
      return ids
    },
  }
}

describe('the list of the newest runs', () => {
  test('begins with a run that comes', async () => {
    const list = await listOf(NEWEST, [9, 8, 7], true)
    list.put('10', 10)
    list.put('11', 11)
    expect(list.ids()).toEqual(['11', '10', '9', '8', '7'])
  })

  test('takes a run that comes late in its place', async () => {
    const list = await listOf(NEWEST, [9, 7, 5], true)
    list.put('8', 8)
    expect(list.ids()).toEqual(['9', '8', '7', '5'])
  })

  test('has a run once, however often it changes', async () => {
    const list = await listOf(NEWEST, [9, 8, 7], true)
    list.put('8', 30, 8)
    list.put('10', 10)
    list.put('10', 31, 10)
    expect(list.ids()).toEqual(['10', '9', '8', '7'])
  })

  test('leaves a run to the pages that are not loaded', async () => {
    const list = await listOf(NEWEST, [9, 8, 7], true)
    list.put('6', 6)
    expect(list.ids()).toEqual(['9', '8', '7'])
  })

  test('ends with the oldest run when all are loaded', async () => {
    const list = await listOf(NEWEST, [9, 8, 7], false)
    list.put('6', 6)
    expect(list.ids()).toEqual(['9', '8', '7', '6'])
  })

  test('is filled from nothing, and loses runs', async () => {
    const list = await listOf(NEWEST, [], false)
    list.put('1', 1)
    list.put('2', 2)
    list.remove('1')
    list.remove('unknown')
    expect(list.ids()).toEqual(['2'])
  })
})

test('the list of the oldest runs takes a new one at its end only when all are loaded', async () => {
  const complete = await listOf(OLDEST, [1, 2], false)
  complete.put('3', 3)
  expect(complete.ids()).toEqual(['1', '2', '3'])
  const first = await listOf(OLDEST, [1, 2], true)
  first.put('3', 3)
  expect(first.ids()).toEqual(['1', '2'])
})

test('the list of the last changes moves a run that changes to its beginning', async () => {
  const list = await listOf(LAST_CHANGED, [9, 8, 7], true)
  list.put('7', 10)
  expect(list.ids()).toEqual(['7', '9', '8'])
})

test('a run of the first changes that changes goes to the pages that are not loaded', async () => {
  const list = await listOf({ ...NEWEST, orderBy: { field: 'UPDATED_AT', direction: 'ASC' } }, [1, 2, 3], true)
  list.put('1', 10, 1)
  expect(list.ids()).toEqual(['2', '3'])
})

test('a list in an order that events do not tell stays as it was read', async () => {
  const list = await listOf(LONGEST, [9, 8], false)
  list.put('10', 10)
  expect(list.ids()).toEqual(['9', '8'])
})
