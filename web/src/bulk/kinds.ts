/** The kinds of operations that the pages begin. */
export type BulkKind = 'RETRY' | 'CANCEL' | 'ARCHIVE' | 'UNARCHIVE'

/** The words for what an operation does to runs: the verb, and the past of it. */
export const BULK_WORDS: Record<BulkKind | 'ERASE' | 'DELETE', { verb: string; done: string }> = {
  RETRY: { verb: 'Retry', done: 'retried' },
  CANCEL: { verb: 'Cancel', done: 'cancelled' },
  ARCHIVE: { verb: 'Archive', done: 'archived' },
  UNARCHIVE: { verb: 'Unarchive', done: 'unarchived' },
  ERASE: { verb: 'Erase', done: 'erased' },
  DELETE: { verb: 'Delete', done: 'deleted' },
}

/** What an operation is called: what it does to how many runs. */
export function nameOf({ kind, matched }: { kind: keyof typeof BULK_WORDS; matched: number }): string {
  return `${BULK_WORDS[kind].verb} ${matched.toLocaleString()} ${matched === 1 ? 'run' : 'runs'}`
}
