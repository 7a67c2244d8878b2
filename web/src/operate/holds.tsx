import { useState } from 'react'
import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { holdsQuery } from '../__generated__/holdsQuery.graphql'
import { Count } from '../shared/count'
import { FlowSelect } from '../shared/flow-select'
import { OpenAsQuery } from '../shared/open-as-query'
import { Time } from '../shared/time'
import { useFresh } from '../shared/use-fresh'
import { useMayOperate } from '../shared/viewer'
import { HoldDialog, type Holdable } from './hold-dialog'

const QUERY = graphql`
  query holdsQuery {
    drain {
      reason
      heldAt
      heldBy {
        name
      }
    }
    projects(first: 100) {
      totalCount(limit: 10000)
      nodes {
        id
        name
        hold {
          reason
          heldAt
          heldBy {
            name
          }
        }
      }
    }
    flows(filter: { held: true }, first: 100) {
      totalCount(limit: 10000)
      nodes {
        id
        name
        hold {
          reason
          heldAt
          heldBy {
            name
          }
        }
      }
    }
  }
`

const COUNTED = 10_000
const READ_MS = 10_000
const NO_VARIABLES = {}

type Row = {
  readonly id: string
  readonly name: string
  readonly hold:
    | { readonly reason?: string | null; readonly heldAt: string; readonly heldBy: { readonly name?: string | null } }
    | null
    | undefined
}

/** What keeps runs from starting: holds of projects and flows, and the drain of the workers. */
export default function Holds() {
  const data = useLazyLoadQuery<holdsQuery>(QUERY, NO_VARIABLES, { fetchPolicy: 'store-and-network' })
  useFresh<holdsQuery>(QUERY, NO_VARIABLES, READ_MS)
  const { drain, projects, flows } = data
  const mayOperate = useMayOperate()
  const [asked, setAsked] = useState<Holdable | null>(null)
  const [flowId, setFlowId] = useState<string>()
  const table = (kind: Holdable['kind'], rows: readonly Row[]) => (
    <div className="scroll-x" tabIndex={0} role="group" aria-label={`Table of ${kind}s`}>
      <table className="plain">
        <thead>
          <tr>
            <th>{kind === 'flow' ? 'Flow' : 'Project'}</th>
            <th>Starts</th>
            <th>Why</th>
            <th>Since</th>
            {mayOperate && <th>Change</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ id, name, hold }) => (
            <tr key={id}>
              <td>
                {kind === 'flow' ? (
                  <Link to="/flows/$flowId" params={{ flowId: id }}>
                    {name}
                  </Link>
                ) : (
                  name
                )}
              </td>
              <td>{hold ? 'Held' : 'Start'}</td>
              <td>{hold?.reason ?? <span className="dim">{hold ? 'no reason given' : ''}</span>}</td>
              <td className="dim nowrap">
                {hold && (
                  <>
                    <Time at={hold.heldAt} />, by {hold.heldBy.name ?? 'the service'}
                  </>
                )}
              </td>
              {mayOperate && (
                <td>
                  <Button
                    variant="default"
                    size="compact-xs"
                    onClick={() => setAsked({ kind, id, name, isHeld: Boolean(hold) })}
                  >
                    {hold ? `Release ${name}` : `Hold ${name}`}
                  </Button>
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
  return (
    <div className="stack">
      {drain && (
        <div className="panel body" role="note" aria-label="Drain">
          <b>The workers are drained: they take no runs.</b> By {drain.heldBy.name ?? 'the command line'}{' '}
          <Time at={drain.heldAt} />
          {drain.reason && `: ${drain.reason}`}. <code className="mono">python -m service undrain</code> ends it.
        </div>
      )}
      <section className="panel" aria-label="Projects">
        <header>
          <h2>Projects</h2>
          <Count count={projects.totalCount} limit={COUNTED} shown={projects.nodes.length} one="project" many="projects" />
          <span className="grow" />
          <OpenAsQuery document={QUERY} variables={NO_VARIABLES} />
        </header>
        {table('project', projects.nodes)}
      </section>
      <section className="panel" aria-label="Flows that are held">
        <header>
          <h2>Flows that are held</h2>
          <Count count={flows.totalCount} limit={COUNTED} shown={flows.nodes.length} one="flow" many="flows" />
        </header>
        {flows.nodes.length ? (
          table('flow', flows.nodes)
        ) : (
          <div className="empty">
            <strong>No flow is held</strong>
            <span>Runs of a flow that is held are created as always, and wait for its release.</span>
          </div>
        )}
        {mayOperate && (
          <div className="body operate-form">
            <FlowSelect label="Flow to hold" value={flowId} onChange={setFlowId} />
            <Button
              variant="default"
              disabled={!flowId}
              onClick={() => flowId && setAsked({ kind: 'flow', id: flowId, name: 'the flow', isHeld: false })}
            >
              Hold the flow
            </Button>
          </div>
        )}
      </section>
      {asked && <HoldDialog of={asked} onClose={() => setAsked(null)} />}
    </div>
  )
}
