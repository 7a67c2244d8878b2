import { useCallback, useState } from 'react'

export type Attempt = {
  /** Why the last request failed; empty if it did not. */
  error: string
  isBusy: boolean
  /** Makes a request. Returns null if it failed. */
  attempt: <T>(work: () => Promise<T>) => Promise<T | null>
}

/** Makes requests that a person asks for, and keeps why the last one failed. */
export function useAttempt(): Attempt {
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  const attempt = useCallback(async <T,>(work: () => Promise<T>): Promise<T | null> => {
    setBusy(true)
    setError('')
    try {
      return await work()
    } catch (reason) {
      setError((reason as Error).message)
      return null
    } finally {
      setBusy(false)
    }
  }, [])
  return { error, isBusy, attempt }
}

/** Why a request failed. Shows nothing while there is no error. */
export function Failure({ error }: { error: string }) {
  if (!error) return null
  return (
    <p role="alert" className="failure">
      {error}
    </p>
  )
}
