/** Reads of flows by name, and of the names of flows. */

import { fetchQuery, graphql } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { flowRequestsQuery } from '../__generated__/flowRequestsQuery.graphql'
import type { PickerOption, ReadOptions } from './use-picker'

const FLOWS = graphql`
  query flowRequestsQuery($filter: FlowFilter) {
    flows(filter: $filter, first: 50) {
      nodes {
        id
        name
      }
    }
  }
`

/** Flows whose names contain what is typed. */
export const readFlows: ReadOptions = async (environment, filter, typed) => {
  const flows = { nameContains: typed || null, projectIds: filter.projectIds }
  const data = await fetchQuery<flowRequestsQuery>(environment, FLOWS, { filter: flows }).toPromise()
  return { isExact: true, options: data!.flows.nodes.map(({ id, name }) => ({ value: id, label: name })) }
}

/** The names of flows, by ID. Flows that the viewer cannot see have none. */
export async function readFlowNames(environment: Environment, ids: readonly string[]): Promise<PickerOption[]> {
  const variables = { filter: { ids: [...ids] } }
  const data = await fetchQuery<flowRequestsQuery>(environment, FLOWS, variables).toPromise()
  return data!.flows.nodes.map(({ id, name }) => ({ value: id, label: name }))
}
