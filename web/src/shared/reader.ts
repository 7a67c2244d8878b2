/** After a change, something is read again, but not more often than this. */
const READ_MS = 200

export type Reader = {
  /** Reads soon. */
  read: () => void
  /** Ends what is under way. */
  stop: () => void
}

/** Reads `READ_MS` after the first change. One that comes during a read is read after it: the answer may be older. */
export function createReader(begin: (ended: () => void) => () => void): Reader {
  let cancel: (() => void) | undefined
  let isReading = false
  let isOld = false

  function read() {
    if (isReading) isOld = true
    else if (!cancel) {
      const timer = setTimeout(request, READ_MS)
      cancel = () => clearTimeout(timer)
    }
  }
  function request() {
    isReading = true
    isOld = false
    cancel = begin(() => {
      const again = isOld
      isReading = false
      cancel = undefined
      if (again) read()
    })
  }
  function stop() {
    cancel?.()
    cancel = undefined
    isReading = false
  }
  return { read, stop }
}
