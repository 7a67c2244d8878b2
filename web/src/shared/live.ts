/**
 * The live connection of a tab: one WebSocket for all subscriptions. After a disconnect each subscription goes on from
 * the cursor of its last event, so that none is missed. Where sockets do not get through, events are streamed by HTTP.
 */

import type { Client as StreamClient } from 'graphql-sse'
import { createClient as createSocketClient } from 'graphql-ws'
import { BASE_PATH } from './base-path'
import { GRAPHQL_PATH } from './session'

export type LiveState = 'idle' | 'connecting' | 'live' | 'streaming' | 'disconnected'
export type Request = { query: string; operationName: string; variables: Record<string, unknown> }
export type Result = { data?: Record<string, unknown> | null; errors?: readonly GraphQLError[] }
export type Sink = {
  next: (result: Result) => void
  error: (error: Error) => void
  complete: () => void
  /** Events were lost for good: what the subscription is about must be read again. */
  lost: () => void
  /** The session has ended, or another one has begun in another tab. */
  unauthenticated: () => void
}
type GraphQLError = { message: string; extensions?: { code?: string; cursor?: string } }

const KEEP_ALIVE_MS = 10_000
const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 8_000
/** Sockets that fail to open, with a service that answers, before events are streamed by HTTP. */
const SOCKET_TRIES = 2
/** Closes the socket of a key that is wrong or no longer active. */
const FORBIDDEN = 4403
const PASSING = new Set(['SERVICE_STOPPING', 'DATABASE_UNAVAILABLE', 'QUERY_TIMEOUT', 'SLOW_CONSUMER'])

let state: LiveState = 'idle'
let socketFailures = 0
const listeners = new Set<() => void>()

const sockets = createSocketClient({
  url: location.origin.replace(/^http/, 'ws') + GRAPHQL_PATH,
  lazy: true,
  lazyCloseTimeout: 3_000,
  // Subscriptions are begun again below, each from its own cursor.
  retryAttempts: 0,
  keepAlive: KEEP_ALIVE_MS,
  on: {
    connecting: () => setState('connecting'),
    connected: () => {
      socketFailures = 0
      setState('live')
    },
    ping: (received) => {
      if (!received) lateAnswer = setTimeout(() => sockets.terminate(), KEEP_ALIVE_MS)
    },
    pong: () => clearTimeout(lateAnswer),
    closed: (event) => {
      clearTimeout(lateAnswer)
      setState((event as CloseEvent).code === 1000 ? 'idle' : 'disconnected')
    },
  },
})
let lateAnswer: ReturnType<typeof setTimeout> | undefined

/** Loaded only where sockets do not get through. */
let streams: StreamClient | undefined

export function liveState(): LiveState {
  return state
}

export function onLiveState(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

function setState(next: LiveState) {
  state = next
  for (const listener of listeners) listener()
}

/** Begins a subscription; the returned function ends it. */
export function subscribe(request: Request, sink: Sink): () => void {
  let cursor: string | undefined
  let failures = 0
  let isEnded = false
  let end = () => {}

  const finish = (tell: () => void) => {
    isEnded = true
    tell()
  }

  const again = (afterMs: number) => {
    const wake = () => {
      clearTimeout(timer)
      removeEventListener('online', wake)
      if (!isEnded) begin()
    }
    const timer = setTimeout(wake, afterMs)
    addEventListener('online', wake)
    end = () => {
      clearTimeout(timer)
      removeEventListener('online', wake)
    }
  }

  const refused = (errors: readonly GraphQLError[]) => {
    const { code, cursor: resumeFrom } = errors[0]?.extensions ?? {}
    if (code === 'SLOW_CONSUMER' && resumeFrom) cursor = resumeFrom
    if (code === 'CURSOR_EXPIRED') {
      cursor = undefined
      sink.lost()
      again(0)
    } else if (code && PASSING.has(code)) again(waitMs(failures++))
    else finish(() => sink.error(new Error(errors[0]?.message ?? 'The subscription ended with an error.')))
  }

  function begin() {
    const stream = socketFailures >= SOCKET_TRIES ? streams : undefined
    const byStream = stream !== undefined
    const variables = cursor === undefined ? request.variables : { ...request.variables, after: cursor }
    end = (stream ?? sockets).subscribe(
      { ...request, variables },
      {
        next(result) {
          failures = 0
          if (byStream && state !== 'streaming') setState('streaming')
          const errors: readonly GraphQLError[] | undefined = result.errors
          if (errors?.length && !result.data) return refused(errors)
          cursor = cursorOf(result.data) ?? cursor
          sink.next({ data: result.data })
        },
        error(reason) {
          if (isEnded) return
          if (Array.isArray(reason)) return refused(reason as GraphQLError[])
          if (isForbidden(reason)) {
            sink.unauthenticated()
            return again(waitMs(failures++))
          }
          setState('disconnected')
          void dropped(byStream).then(() => !isEnded && again(waitMs(failures++)))
        },
        complete() {
          if (!isEnded) finish(sink.complete)
        },
      },
    )
  }

  begin()
  return () => finish(() => end())
}

/** True if a socket was closed, or a stream was refused, because of the session. */
function isForbidden(reason: unknown): boolean {
  const { code, response } = (reason ?? {}) as { code?: number; response?: { status: number } }
  return code === FORBIDDEN || response?.status === 401
}

/** A service that answers while its sockets do not open is behind something that blocks them. */
async function dropped(byStream: boolean): Promise<void> {
  if (byStream) {
    socketFailures = 0
    return
  }
  const answers = await fetch(`${BASE_PATH}/healthz`).then((response) => response.ok).catch(() => false)
  if (!answers) return
  socketFailures += 1
  if (socketFailures >= SOCKET_TRIES) streams ??= await loadStreams()
}

/** Nothing if it cannot be loaded now: sockets are tried again first. */
async function loadStreams(): Promise<StreamClient | undefined> {
  const { createClient } = await import('graphql-sse').catch(() => ({ createClient: undefined }))
  return createClient?.({ url: GRAPHQL_PATH, retryAttempts: 0 })
}

function waitMs(failures: number): number {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures)
  return longest / 2 + Math.random() * (longest / 2)
}

function cursorOf(data: Record<string, unknown> | null | undefined): string | undefined {
  const event = data && Object.values(data)[0]
  return (event as { cursor?: string } | undefined)?.cursor
}
