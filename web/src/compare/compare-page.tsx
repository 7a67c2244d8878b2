import { useMemo } from 'react'
import { Skeleton } from '@mantine/core'
import { useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { comparePageQuery } from '../__generated__/comparePageQuery.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { Part } from '../shared/part'
import { RUN_ID } from '../shared/run-id'
import { useTitle } from '../shared/title'
import { Documents } from './documents'
import { Facts } from './facts'
import { PairForm } from './pair-form'
import { Steps } from './steps'
import './compare.css'

const QUERY = graphql`
  query comparePageQuery($left: ID!, $right: ID!) {
    compareRuns(a: $left, b: $right) {
      ...facts_comparison
      ...documents_comparison
      ...steps_comparison
    }
    leftRun: flowRun(id: $left) {
      id
    }
    rightRun: flowRun(id: $right) {
      id
    }
  }
`

/** Two runs side by side: what they executed, with what, and where they differ. */
export function ComparePage() {
  useTitle('Compare runs')
  const { left = '', right = '' } = useSearch({ from: '/compare' })
  return (
    <main className="page">
      <h1>Compare runs</h1>
      <PairForm key={`${left} ${right}`} left={left} right={right} />
      {left && right ? <Checked left={left} right={right} /> : <NoPair />}
    </main>
  )
}

type Pair = { left: string; right: string }

function Checked({ left, right }: Pair) {
  const wrong = [left, right].filter((id) => !RUN_ID.test(id))
  if (wrong.length) return <NoRun ids={wrong} why="A run ID begins with run_ and has 32 hexadecimal digits." />
  return (
    <Part address={`${left} ${right}`} fallback={<Skeleton height={320} aria-busy aria-label="Loading" />}>
      {(attempt) => <Comparison left={left} right={right} attempt={attempt} />}
    </Part>
  )
}

function Comparison({ left, right, attempt }: Pair & { attempt: number }) {
  const variables = useMemo(() => ({ left, right }), [left, right])
  const options = { fetchPolicy: 'store-and-network', fetchKey: attempt } as const
  const data = useLazyLoadQuery<comparePageQuery>(QUERY, variables, options)
  if (!data.compareRuns) {
    const missing = [!data.leftRun && left, !data.rightRun && right].filter((id) => id !== false)
    return <NoRun ids={missing} why="It was deleted, or the key that signed in cannot see it." />
  }
  return (
    <>
      <Facts comparison={data.compareRuns} />
      <Steps comparison={data.compareRuns} />
      <Documents comparison={data.compareRuns} />
      <div>
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
    </>
  )
}

function NoRun({ ids, why }: { ids: string[]; why: string }) {
  return (
    <div className="panel empty" role="alert">
      <strong>{ids.length > 1 ? 'There are no runs with these IDs' : 'There is no run with this ID'}</strong>
      {ids.map((id) => (
        <code key={id} className="mono compare-value">
          {id}
        </code>
      ))}
      <span>{why}</span>
    </div>
  )
}

function NoPair() {
  return (
    <div className="panel empty">
      <strong>Choose two runs</strong>
      <span>Paste their IDs, select two rows in the list of runs, or use “Compare with…” on the page of a run.</span>
    </div>
  )
}
