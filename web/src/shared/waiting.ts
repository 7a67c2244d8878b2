/** What live runs wait for, in words. */

export type WaitKind = 'PERSON' | 'TIME' | 'CHILDREN' | 'RETRY' | 'SLOT' | 'RELEASE' | 'WORKER'

export const WAIT_WORDS: Record<WaitKind, string> = {
  PERSON: 'An answer',
  TIME: 'A time',
  CHILDREN: 'Child runs',
  RETRY: 'The next attempt',
  SLOT: 'A free slot',
  RELEASE: 'Its release',
  WORKER: 'A worker',
}

export function waitText(kind: WaitKind): string {
  return `waits for ${WAIT_WORDS[kind].toLowerCase()}`
}
