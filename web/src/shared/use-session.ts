import { useCallback, useEffect, useState } from 'react'
import { setPayloads } from './payloads.relayprovider'
import { fetchViewer, type Viewer } from './session'

export type Session =
  | { state: 'checking' }
  | { state: 'signed-out' }
  | { state: 'signed-in'; viewer: Viewer }
  | { state: 'failed'; message: string }

/** The session of this browser, and a function that reads it again. */
export function useSession(): [Session, () => void] {
  const [session, setSession] = useState<Session>({ state: 'checking' })
  const check = useCallback(() => {
    void readSession().then(setSession)
  }, [])
  useEffect(check, [check])
  const isSignedOut = session.state === 'signed-out'
  useEffect(() => {
    // Another tab may have signed in.
    if (!isSignedOut) return
    addEventListener('focus', check)
    return () => removeEventListener('focus', check)
  }, [isSignedOut, check])
  return [session, check]
}

async function readSession(): Promise<Session> {
  try {
    const viewer = await fetchViewer()
    if (!viewer) return { state: 'signed-out' }
    setPayloads(viewer.payloads)
    return { state: 'signed-in', viewer }
  } catch (error) {
    return { state: 'failed', message: (error as Error).message }
  }
}
