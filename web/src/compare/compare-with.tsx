import { lazy, Suspense, useState } from 'react'
import { Button } from '@mantine/core'
import { graphql, useFragment } from 'react-relay/hooks'
import type { compareWith_run$key } from '../__generated__/compareWith_run.graphql'

const CompareDialog = lazy(() => import('./compare-dialog'))

const FRAGMENT = graphql`
  fragment compareWith_run on FlowRun {
    id
    flowId
  }
`

/** Leads from a run to its comparison with another one. */
export function CompareWith({ run: key }: { run: compareWith_run$key }) {
  const run = useFragment(FRAGMENT, key)
  const [isOpen, setOpen] = useState(false)
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Compare with…
      </Button>
      {isOpen && (
        <Suspense>
          <CompareDialog runId={run.id} flowId={run.flowId} onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  )
}
