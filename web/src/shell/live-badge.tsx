import { useSyncExternalStore } from 'react'
import { liveState, onLiveState, type LiveState } from '../shared/live'

const WORDS: Record<LiveState, [word: string, why: string]> = {
  idle: ['Idle', 'Nothing on this page changes by itself.'],
  connecting: ['Connecting', 'The live connection is being opened.'],
  live: ['Live', 'Changes appear as they happen, over one WebSocket.'],
  streaming: ['Live', 'Changes appear as they happen, over event streams: WebSockets do not get through.'],
  disconnected: ['Disconnected', 'Changes do not arrive. Nothing is missed once the service is back.'],
}

/** Says whether what is shown follows the service. */
export function LiveBadge() {
  const state = useSyncExternalStore(onLiveState, liveState)
  const [word, why] = WORDS[state]
  return (
    <span className="live" data-state={state} role="status" title={why}>
      <i aria-hidden />
      {word}
    </span>
  )
}
