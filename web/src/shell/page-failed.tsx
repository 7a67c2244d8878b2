import { Button } from '@mantine/core'
import { useRouter, type ErrorComponentProps } from '@tanstack/react-router'
import { BASE_PATH } from '../shared/base-path'

/** In place of a page that failed to load: what the service said, and a way on. */
export function PageFailed({ error, reset }: ErrorComponentProps) {
  const router = useRouter()
  const retry = () => {
    reset()
    void router.invalidate()
  }
  return (
    <main className="page">
      <div className="panel empty" role="alert">
        <h1>This could not be loaded</h1>
        <span>{error instanceof Error ? error.message : String(error)}</span>
        <div className="line">
          <Button onClick={retry}>Try again</Button>
          <Button variant="default" component="a" href={`${BASE_PATH}/`}>
            All runs
          </Button>
        </div>
      </div>
    </main>
  )
}
