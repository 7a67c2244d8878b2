import { lazy, useState } from 'react'
import { Alert, Button } from '@mantine/core'
import '@mantine/core/styles/Alert.layer.css'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { definition_flow$key } from '../__generated__/definition_flow.graphql'
import type { definitionPublishMutation } from '../__generated__/definitionPublishMutation.graphql'
import { mutate } from '../shared/mutate'
import { useMayAdminister } from '../shared/viewer'

const JsonEditor = lazy(() => import('./json-editor'))
const JsonDiff = lazy(() => import('./json-diff'))

const FRAGMENT = graphql`
  fragment definition_flow on Flow {
    id
    publishedVersion {
      id
      number
      definition
      createdAt
    }
  }
`

const PUBLISH = graphql`
  mutation definitionPublishMutation($flowId: ID!, $definition: JSON!) {
    publishFlowVersion(flowId: $flowId, definition: $definition) {
      ... on PublishFlowVersionSuccess {
        flowVersion {
          flow {
            ...definition_flow
            ...runNow_flow
            publishedVersion {
              number
              stepCount
            }
          }
        }
      }
      ... on UserError {
        message
      }
      ... on DefinitionInvalid {
        problems {
          path
          message
        }
      }
    }
  }
`

type Problem = { readonly path: string; readonly message: string }
const FIRST_DEFINITION = { steps: [] }

/** The published definition in an editor that knows its JSON Schema; what was changed can be compared, and published. */
export function Definition({ flow: key }: { flow: definition_flow$key }) {
  const flow = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const mayAdminister = useMayAdminister()
  const published = JSON.stringify(flow.publishedVersion?.definition ?? FIRST_DEFINITION, null, 2)
  const [text, setText] = useState(published)
  const [isComparing, setComparing] = useState(false)
  const [problems, setProblems] = useState<readonly Problem[]>([])
  const [isBusy, setBusy] = useState(false)
  const isChanged = text !== published

  const publish = async () => {
    setBusy(true)
    setProblems([])
    try {
      const definition: unknown = JSON.parse(text)
      const variables = { flowId: flow.id, definition }
      const result = (await mutate<definitionPublishMutation>(environment, PUBLISH, variables)).publishFlowVersion
      if (result.flowVersion) {
        setText(JSON.stringify(definition, null, 2))
        setComparing(false)
      } else setProblems(result.problems ?? [{ path: '', message: result.message ?? '' }])
    } catch (reason) {
      setProblems([{ path: '', message: (reason as Error).message }])
    } finally {
      setBusy(false)
    }
  }
  return (
    <section className="panel" aria-label="Definition">
      <header>
        <h2>{flow.publishedVersion ? `Version ${flow.publishedVersion.number}` : 'No version yet'}</h2>
        {isChanged && <span className="tag">changed</span>}
        <span className="grow" />
        {isChanged && (
          <Button variant="default" aria-pressed={isComparing} onClick={() => setComparing(!isComparing)}>
            {isComparing ? 'Edit' : 'Compare with the published version'}
          </Button>
        )}
        {mayAdminister && (
          <Button disabled={!isChanged} loading={isBusy} onClick={() => void publish()}>
            Publish
          </Button>
        )}
      </header>
      {problems.length > 0 && (
        <Alert color="red" variant="outline" role="alert" m="sm" title="The definition was not published">
          <ul style={{ margin: 0, paddingLeft: 18 }}>
            {problems.map(({ path, message }) => (
              <li key={path + message}>
                {path && <code className="mono">{path}: </code>}
                {message}
              </li>
            ))}
          </ul>
        </Alert>
      )}
      {isComparing ? (
        <JsonDiff before={published} after={text} />
      ) : (
        <JsonEditor text={text} onChange={setText} isReadOnly={!mayAdminister} label="Definition as JSON" />
      )}
    </section>
  )
}
