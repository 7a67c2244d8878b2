import { createContext, Suspense, use, useReducer, type ReactNode } from 'react'
import { Button } from '@mantine/core'
import { CatchBoundary, type ErrorComponentProps } from '@tanstack/react-router'

type Props = {
  /** The part is loaded anew when this text changes. */
  address: string
  fallback: ReactNode
  /** `attempt` is the `fetchKey` of the part's query: Relay keeps the error of an earlier one. */
  children: (attempt: number) => ReactNode
}

const Retry = createContext(() => {})

/** A part of a page that is loaded by itself. If that fails, the rest of the page, such as its filter, can be used. */
export function Part({ address, fallback, children }: Props) {
  const [attempt, retry] = useReducer((old: number) => old + 1, 0)
  return (
    <Retry value={retry}>
      <CatchBoundary getResetKey={() => `${address} ${attempt}`} errorComponent={PartFailed}>
        <Suspense fallback={fallback}>{children(attempt)}</Suspense>
      </CatchBoundary>
    </Retry>
  )
}

function PartFailed({ error }: ErrorComponentProps) {
  return (
    <div className="empty" role="alert">
      <strong>This could not be loaded</strong>
      <span>{error instanceof Error ? error.message : String(error)}</span>
      <span>Change the filter, or try again.</span>
      <Button variant="default" onClick={use(Retry)}>
        Try again
      </Button>
    </div>
  )
}
