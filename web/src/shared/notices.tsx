export function Loading() {
  return <p className="notice">Loading…</p>
}

export function ServiceFailed({ message, onRetry }: { message: string; onRetry: () => void }) {
  return (
    <main className="card" role="alert">
      <h1>The service does not answer</h1>
      <p>{message}</p>
      <button onClick={onRetry}>Try again</button>
    </main>
  )
}
