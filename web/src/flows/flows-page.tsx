import { TextInput } from '@mantine/core'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { flowsPageQuery } from '../__generated__/flowsPageQuery.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { Time } from '../shared/time'
import { GRAPHQL_PATH } from '../shared/session'
import { useTitle } from '../shared/title'

const QUERY = graphql`
  query flowsPageQuery($filter: FlowFilter) {
    flows(filter: $filter, first: 500) {
      totalCount
      nodes {
        id
        name
        enabled
        updatedAt
        publishedVersion {
          number
          stepCount
        }
        schedules {
          id
          nextFireAt
        }
        webhooks {
          id
        }
      }
    }
  }
`

/** The flows of the project. */
export function FlowsPage() {
  useTitle('Flows')
  const { nameContains } = useSearch({ from: '/flows' })
  const navigate = useNavigate({ from: '/flows' })
  const variables = { filter: { nameContains: nameContains ?? null } }
  const { flows } = useLazyLoadQuery<flowsPageQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  const find = (text: string) => void navigate({ search: { nameContains: text.trim() || undefined }, replace: true })
  return (
    <main className="page">
      <div className="line">
        <h1>Flows</h1>
        <span className="dim">{flows.totalCount.toLocaleString()}</span>
        <span className="grow" />
        <TextInput
          type="search"
          aria-label="Name contains"
          placeholder="Name"
          defaultValue={nameContains}
          onBlur={(event) => find(event.currentTarget.value)}
          onKeyDown={(event) => event.key === 'Enter' && find(event.currentTarget.value)}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
      <section className="panel scroll-x" aria-label="Flows">
        {flows.nodes.length ? (
          <table className="plain">
            <thead>
              <tr>
                <th>Flow</th>
                <th>Version</th>
                <th className="number">Steps</th>
                <th>Next fire time</th>
                <th className="number">Webhooks</th>
                <th>Changed</th>
                <th>Runs</th>
              </tr>
            </thead>
            <tbody>
              {flows.nodes.map((flow) => (
                <tr key={flow.id}>
                  <td>
                    <Link to="/flows/$flowId" params={{ flowId: flow.id }}>
                      <b>{flow.name}</b>
                    </Link>{' '}
                    {!flow.enabled && <span className="tag">disabled</span>}
                  </td>
                  <td>{flow.publishedVersion?.number ?? <span className="dim">not published</span>}</td>
                  <td className="number">{flow.publishedVersion?.stepCount}</td>
                  <td className="nowrap">
                    <NextFire schedules={flow.schedules} />
                  </td>
                  <td className="number">{flow.webhooks.length || ''}</td>
                  <td className="dim nowrap">
                    <Time at={flow.updatedAt} />
                  </td>
                  <td>
                    <Link to="/" search={{ flowIds: [flow.id] }}>
                      Runs
                    </Link>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <div className="empty">
            <strong>{nameContains ? 'No flow has such a name' : 'There are no flows yet'}</strong>
            <span>Flows are created by the mutation createFlow: GraphiQL shows how.</span>
            <a href={GRAPHQL_PATH}>GraphiQL</a>
          </div>
        )}
      </section>
    </main>
  )
}

function NextFire({ schedules }: { schedules: readonly { readonly nextFireAt: string | null | undefined }[] }) {
  const [next] = schedules.flatMap(({ nextFireAt }) => nextFireAt ?? []).toSorted()
  return next ? <Time at={next} /> : null
}
