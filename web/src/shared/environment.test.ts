import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fetchQuery, getRequest, requestSubscription } from 'relay-runtime'
import SUBSCRIPTION from '../__generated__/useLiveRunsSubscription.graphql'
import VIEWER from '../__generated__/sessionViewerQuery.graphql'
import type { Request, Sink } from './live'

let sink: Sink
const end = vi.fn()
vi.mock('./live', () => ({
  subscribe: (_: Request, given: Sink) => {
    sink = given
    return end
  },
}))

const page = new EventTarget()
const unauthenticated = vi.fn()
const service = vi.fn()
let createEnvironment: (typeof import('./environment'))['createEnvironment']

beforeEach(async () => {
  vi.useFakeTimers()
  vi.stubGlobal('document', { querySelector: () => null })
  vi.stubGlobal('dispatchEvent', page.dispatchEvent.bind(page))
  vi.stubGlobal('fetch', service)
  ;({ createEnvironment } = await import('./environment'))
})
afterEach(() => {
  vi.useRealTimers()
})

const caughtUp = (cursor: string) => ({ data: { flowRunStatusChanged: { __typename: 'CaughtUp', cursor } } })

describe('events', () => {
  test('that come closely together are put into the store together', () => {
    const seen: unknown[] = []
    const stop = requestSubscription(createEnvironment(unauthenticated), {
      subscription: SUBSCRIPTION,
      variables: {},
      updater: (store) => seen.push(store.getRootField('flowRunStatusChanged')?.getValue('cursor')),
    })
    sink.next(caughtUp('a'))
    expect(seen).toEqual(['a'])
    sink.next(caughtUp('b'))
    sink.next(caughtUp('c'))
    expect(seen).toEqual(['a'])
    vi.advanceTimersByTime(80)
    expect(seen).toEqual(['a', 'b', 'c'])
    vi.advanceTimersByTime(80)
    sink.next(caughtUp('d'))
    expect(seen).toEqual(['a', 'b', 'c', 'd'])
    stop.dispose()
    expect(end).toHaveBeenCalledOnce()
  })

  test('that the service no longer has are reported to the page', () => {
    const lost = vi.fn()
    page.addEventListener('flow-runs-lost', lost, { once: true })
    requestSubscription(createEnvironment(unauthenticated), { subscription: SUBSCRIPTION, variables: {} })
    sink.lost()
    expect(lost).toHaveBeenCalledOnce()
  })
})

describe('a request', () => {
  const read = (status: number, body: unknown) => {
    service.mockResolvedValue({ status, json: () => (body ? Promise.resolve(body) : Promise.reject(new Error('no JSON'))) })
    return fetchQuery(createEnvironment(unauthenticated), getRequest(VIEWER), {}).toPromise()
  }

  test('sends the document that the build compiled', async () => {
    await read(200, { data: { viewer: null } })
    const [path, { body }] = service.mock.lastCall as [string, { body: string }]
    expect(path).toBe('/graphql')
    expect(JSON.parse(body)).toMatchObject({ operationName: 'sessionViewerQuery', query: VIEWER.params.text })
  })

  test('without a valid session asks who is signed in', async () => {
    await expect(read(401, { errors: [{ message: 'No valid API key.' }] })).rejects.toThrow('No valid API key.')
    expect(unauthenticated).toHaveBeenCalledOnce()
  })

  test('shows what was read beside a field that its fragment catches, and fails for other errors', async () => {
    const unreadable = { message: 'No key.', extensions: { code: 'ENDPOINT_URL_UNREADABLE' } }
    const data = { viewer: null }
    await expect(read(200, { data, errors: [unreadable] })).resolves.toEqual(data)
    await expect(read(200, { data: null, errors: [unreadable] })).rejects.toThrow('No key.')
    const other = { message: 'Too slow.', extensions: { code: 'QUERY_TIMEOUT' } }
    await expect(read(200, { data, errors: [unreadable, other] })).rejects.toThrow('Too slow.')
  })

  test('that a proxy answers says its status', async () => {
    await expect(read(502, null)).rejects.toThrow('The service answered with status 502.')
  })
})
