import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Result, Sink } from './live'

/** What graphql-ws and graphql-sse are given for one subscription, as a server drives it. */
type Begun = {
  variables: Record<string, unknown>
  sink: { next: (result: unknown) => void; error: (reason: unknown) => void; complete: () => void }
  isEnded: boolean
}
type Events = Record<'connecting' | 'connected' | 'closed' | 'ping' | 'pong', (value?: unknown) => void>

const sockets: Begun[] = []
const streams: Begun[] = []
let socketEvents: Events
const terminate = vi.fn()

function begin(list: Begun[]) {
  return (request: { variables: Record<string, unknown> }, sink: Begun['sink']) => {
    const begun = { variables: request.variables, sink, isEnded: false }
    list.push(begun)
    return () => {
      begun.isEnded = true
    }
  }
}

vi.mock('graphql-ws', () => ({
  createClient: ({ on }: { on: Events }) => {
    socketEvents = on
    return { subscribe: begin(sockets), terminate }
  },
}))
vi.mock('graphql-sse', () => ({ createClient: () => ({ subscribe: begin(streams) }) }))

const page = new EventTarget()
const healthz = vi.fn()
let live: typeof import('./live')
let sink: { [Name in keyof Sink]: ReturnType<typeof vi.fn<Sink[Name]>> }

beforeEach(async () => {
  vi.useFakeTimers()
  vi.stubGlobal('location', { origin: 'https://example.test' })
  vi.stubGlobal('document', { querySelector: () => ({ content: '/below' }) })
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  vi.stubGlobal('fetch', healthz.mockResolvedValue({ ok: false }))
  sockets.length = 0
  streams.length = 0
  vi.resetModules()
  live = await import('./live')
  sink = { next: vi.fn(), error: vi.fn(), complete: vi.fn(), lost: vi.fn(), unauthenticated: vi.fn() }
})
afterEach(() => {
  vi.useRealTimers()
})

const REQUEST = { query: 'subscription', operationName: 'S', variables: { filter: {} } }
const event = (cursor: string): Result => ({ data: { flowRunStatusChanged: { cursor } } })
const refusal = (code: string, cursor?: string) => [{ message: code, extensions: { code, cursor } }]
const latest = (list: Begun[] = sockets) => list.at(-1)!

/** The connection goes away. */
async function drop(begun: Begun) {
  begun.sink.error(new Error('closed'))
  await vi.advanceTimersByTimeAsync(0)
}

describe('a subscription', () => {
  test('resumes from the cursor of its last event', async () => {
    live.subscribe(REQUEST, sink)
    expect(latest().variables).toEqual({ filter: {} })
    latest().sink.next(event('a'))
    latest().sink.next(event('b'))
    await drop(latest())
    expect(live.liveState()).toBe('disconnected')
    await vi.advanceTimersByTimeAsync(250)
    expect(sockets).toHaveLength(2)
    expect(latest().variables).toEqual({ filter: {}, after: 'b' })
    expect(sink.next.mock.calls).toEqual([[event('a')], [event('b')]])
  })

  test('is begun again sooner when the browser is online again', async () => {
    live.subscribe(REQUEST, sink)
    for (let failures = 0; failures < 8; failures += 1) {
      await drop(latest())
      await vi.advanceTimersByTimeAsync(8_000)
    }
    expect(sockets).toHaveLength(9)
    await drop(latest())
    expect(sockets).toHaveLength(9)
    page.dispatchEvent(new Event('online'))
    expect(sockets).toHaveLength(10)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(10)
  })

  test('waits longer after each failure, up to eight seconds, and little again after an event', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1)
    live.subscribe(REQUEST, sink)
    for (const ms of [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000]) {
      const begun = sockets.length
      await drop(latest())
      await vi.advanceTimersByTimeAsync(ms - 1)
      expect(sockets).toHaveLength(begun)
      await vi.advanceTimersByTimeAsync(1)
      expect(sockets).toHaveLength(begun + 1)
    }
    latest().sink.next(event('a'))
    await drop(latest())
    await vi.advanceTimersByTimeAsync(250)
    expect(latest().variables).toEqual({ filter: {}, after: 'a' })
  })

  test.each(['SERVICE_STOPPING', 'DATABASE_UNAVAILABLE', 'QUERY_TIMEOUT'])('outlives %s', async (code) => {
    live.subscribe(REQUEST, sink)
    latest().sink.next(event('a'))
    latest().sink.error(refusal(code))
    await vi.advanceTimersByTimeAsync(250)
    expect(latest().variables).toEqual({ filter: {}, after: 'a' })
    expect(sink.error).not.toHaveBeenCalled()
  })

  test('that was too slow goes on from where the service says', async () => {
    live.subscribe(REQUEST, sink)
    latest().sink.next(event('a'))
    latest().sink.next({ errors: refusal('SLOW_CONSUMER', 'c') })
    await vi.advanceTimersByTimeAsync(250)
    expect(latest().variables).toEqual({ filter: {}, after: 'c' })
  })

  test('whose session has ended says so, and goes on if another one has begun', async () => {
    live.subscribe(REQUEST, sink)
    latest().sink.next(event('c1'))
    latest().sink.error({ code: 4403, reason: 'The API key is no longer active.' })
    expect(sink.unauthenticated).toHaveBeenCalledOnce()
    await vi.advanceTimersByTimeAsync(500)
    expect(latest().variables).toEqual({ filter: {}, after: 'c1' })
  })

  test('whose cursor expired says that events are lost, and begins without one', async () => {
    live.subscribe(REQUEST, sink)
    latest().sink.next(event('a'))
    latest().sink.error(refusal('CURSOR_EXPIRED'))
    expect(sink.lost).toHaveBeenCalledOnce()
    await vi.advanceTimersByTimeAsync(0)
    expect(latest().variables).toEqual({ filter: {} })
  })

  test('that is refused ends with what the service said', async () => {
    live.subscribe(REQUEST, sink)
    latest().sink.error(refusal('FORBIDDEN'))
    expect(sink.error).toHaveBeenCalledWith(new Error('FORBIDDEN'))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(1)
  })

  test('that the page ends is not begun again', async () => {
    const end = live.subscribe(REQUEST, sink)
    await drop(latest())
    end()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(1)
    const endOther = live.subscribe(REQUEST, sink)
    endOther()
    expect(latest().isEnded).toBe(true)
    latest().sink.error(new Error('closed'))
    latest().sink.complete()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(2)
    expect(sink.complete).not.toHaveBeenCalled()
  })
})

describe('where sockets do not open', () => {
  test('events are streamed once the service has answered twice', async () => {
    healthz.mockResolvedValue({ ok: true })
    live.subscribe(REQUEST, sink)
    latest().sink.next(event('a'))
    await drop(latest())
    await vi.advanceTimersByTimeAsync(250)
    await drop(latest())
    await vi.advanceTimersByTimeAsync(500)
    expect(healthz).toHaveBeenCalledWith('/below/healthz')
    expect(sockets).toHaveLength(2)
    expect(latest(streams).variables).toEqual({ filter: {}, after: 'a' })
    latest(streams).sink.next(event('b'))
    expect(live.liveState()).toBe('streaming')
  })

  test('nothing changes while the service does not answer', async () => {
    live.subscribe(REQUEST, sink)
    for (let failures = 0; failures < 4; failures += 1) {
      await drop(latest())
      await vi.advanceTimersByTimeAsync(8_000)
    }
    expect(sockets).toHaveLength(5)
    expect(streams).toHaveLength(0)
  })

  test('a stream that ends leads back to sockets', async () => {
    healthz.mockResolvedValue({ ok: true })
    live.subscribe(REQUEST, sink)
    await drop(latest())
    await vi.advanceTimersByTimeAsync(250)
    await drop(latest())
    await vi.advanceTimersByTimeAsync(500)
    await drop(latest(streams))
    await vi.advanceTimersByTimeAsync(1_000)
    expect(sockets).toHaveLength(3)
  })
})

describe('the socket', () => {
  test('is given up when a ping stays without an answer', async () => {
    socketEvents.ping(false)
    await vi.advanceTimersByTimeAsync(9_999)
    expect(terminate).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    expect(terminate).toHaveBeenCalledOnce()

    socketEvents.ping(false)
    socketEvents.pong()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(terminate).toHaveBeenCalledOnce()
  })

  test('says how it is', () => {
    const states: string[] = []
    const stop = live.onLiveState(() => states.push(live.liveState()))
    socketEvents.connecting()
    socketEvents.connected()
    socketEvents.closed({ code: 1006 })
    socketEvents.closed({ code: 1000 })
    stop()
    socketEvents.connecting()
    expect(states).toEqual(['connecting', 'live', 'disconnected', 'idle'])
  })
})
