import { Suspense } from 'react'
import { Tabs } from '@mantine/core'
import '@mantine/core/styles/Tabs.layer.css'
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { flowPageQuery } from '../__generated__/flowPageQuery.graphql'
import { CopyableId } from '../shared/copy'
import { steps } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { useTitle } from '../shared/title'
import { useMayOperate } from '../shared/viewer'
import { Definition } from './definition'
import { RunNow } from './run-now'
import { Schedules } from './schedules'
import { Webhooks } from './webhooks'

const QUERY = graphql`
  query flowPageQuery($id: ID!) {
    flow(id: $id) {
      id
      name
      enabled
      publishedVersion {
        number
        stepCount
      }
      ...definition_flow
      ...runNow_flow
      ...schedules_flow
      ...webhooks_flow
    }
  }
`

/** One flow: its definition, a form that starts a run, its schedules and webhooks. */
export function FlowPage() {
  const { flowId } = useParams({ from: '/flows/$flowId' })
  const { tab = 'definition' } = useSearch({ from: '/flows/$flowId' })
  const navigate = useNavigate({ from: '/flows/$flowId' })
  const mayOperate = useMayOperate()
  const variables = { id: flowId }
  const { flow } = useLazyLoadQuery<flowPageQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useTitle(flow?.name ?? 'No flow')
  if (!flow)
    return (
      <main className="page">
        <div className="panel empty">
          <h1>There is no flow with this ID</h1>
          <Link to="/flows">All flows</Link>
        </div>
      </main>
    )
  return (
    <main className="page">
      <div className="line">
        <h1>{flow.name}</h1>
        {!flow.enabled && <span className="tag">disabled</span>}
        <span className="dim">
          {flow.publishedVersion
            ? `Version ${flow.publishedVersion.number}, ${steps(flow.publishedVersion.stepCount)}`
            : 'Not published'}
        </span>
        <CopyableId id={flow.id} />
        <span className="grow" />
        <Link to="/" search={{ flowIds: [flow.id] }}>
          Runs
        </Link>
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
      <Tabs
        value={tab}
        onChange={(value) => void navigate({ search: { tab: value ?? undefined }, replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="sm">
          <Tabs.Tab value="definition">Definition</Tabs.Tab>
          {mayOperate && <Tabs.Tab value="run">Run now</Tabs.Tab>}
          <Tabs.Tab value="schedules">Schedules</Tabs.Tab>
          <Tabs.Tab value="webhooks">Webhooks</Tabs.Tab>
        </Tabs.List>
        <Suspense>
          <Tabs.Panel value="definition">
            <Definition flow={flow} />
          </Tabs.Panel>
          {mayOperate && (
            <Tabs.Panel value="run">
              <RunNow flow={flow} />
            </Tabs.Panel>
          )}
          <Tabs.Panel value="schedules">
            <Schedules flow={flow} />
          </Tabs.Panel>
          <Tabs.Panel value="webhooks">
            <Webhooks flow={flow} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </main>
  )
}
