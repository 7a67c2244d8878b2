import { Suspense, useState, type ReactNode } from 'react'
import { Button } from '@mantine/core'
import { CatchBoundary } from '@tanstack/react-router'

type Props = {
  /** The part is loaded anew when this text changes. */
  address: string
  fallback: ReactNode
  /** `attempt` is the `fetchKey` of the part's query: Relay keeps the error of an earlier one. */
  children: (attempt: number) => ReactNode
}

/** A part of a page that is loaded by itself. If that fails, the rest of the page, such as its filter, can be used. */
export function Part({ address, fallback, children }: Props) {
  const [attempt, setAttempt] = useState(0)
  return (
    <CatchBoundary
      getResetKey={() => `${address} ${attempt}`}
      errorComponent={({ error }) => <PartFailed error={error} onRetry={() => setAttempt((old) => old + 1)} />}
    >
      <Suspense fallback={fallback}>{children(attempt)}</Suspense>
    </CatchBoundary>
  )
}

function PartFailed({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <div className="empty" role="alert">
      <strong>This could not be loaded</strong>
      <span>{error instanceof Error ? error.message : String(error)}</span>
      <span>Change the filter, or try again.</span>
      <Button variant="default" onClick={onRetry}>
        Try again
      </Button>
    </div>
  )
}
