import { lazy, useState } from 'react'
import { Alert } from '@mantine/core'
import '@mantine/core/styles/Alert.layer.css'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { runNow_flow$key } from '../__generated__/runNow_flow.graphql'
import type { runNowMutation } from '../__generated__/runNowMutation.graphql'
import { mutate, refused } from '../shared/mutate'

const SchemaForm = lazy(() => import('../shared/schema-form'))

const FRAGMENT = graphql`
  fragment runNow_flow on Flow {
    id
    enabled
    publishedVersion {
      definition
    }
  }
`

const START = graphql`
  mutation runNowMutation($input: StartRunInput!) {
    startRun(input: $input) {
      ... on StartRunSuccess {
        run {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

/** What a flow without a schema of its input takes: any object. */
const ANY_OBJECT = { type: 'object', properties: {}, additionalProperties: { type: 'string' } }

/** Starts a run by the form that the flow's `inputSchema` describes. */
export function RunNow({ flow: key }: { flow: runNow_flow$key }) {
  const flow = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const [error, setError] = useState('')
  if (!flow.publishedVersion) return <div className="panel empty">Publish a version first.</div>
  const { inputSchema } = flow.publishedVersion.definition as { inputSchema?: object }
  const start = async (input: unknown) => {
    setError('')
    try {
      const variables = { input: { flowId: flow.id, input, triggerMethod: 'MANUAL' as const } }
      const { startRun } = await mutate<runNowMutation>(environment, START, variables)
      const runId = startRun.run?.id ?? refused(startRun)
      await navigate({ to: '/runs/$runId', params: { runId } })
    } catch (reason) {
      setError((reason as Error).message)
    }
  }
  return (
    <section className="panel" aria-label="Run now" style={{ maxWidth: 720 }}>
      <div className="body stack">
        {!inputSchema && <p className="dim">The flow does not describe its input: any properties are accepted.</p>}
        {error && (
          <Alert color="red" variant="outline" role="alert">
            {error}
          </Alert>
        )}
        <SchemaForm schema={inputSchema ?? ANY_OBJECT} label="Input" submitLabel="Start a run" onSubmit={start} />
      </div>
    </section>
  )
}
