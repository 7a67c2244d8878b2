import { Button } from '@mantine/core'
import type { GraphQLTaggedNode } from 'react-relay/hooks'
import { getRequest } from 'relay-runtime'
import { GRAPHQL_PATH } from './session'

type Props = { document: GraphQLTaggedNode; variables: object }

/** The address of GraphiQL with a document and its variables, which it opens in a tab. */
export function queryAddress(document: GraphQLTaggedNode, variables: object): string {
  const { text, providedVariables } = getRequest(document).params
  let query = text ?? ''
  const all: Record<string, unknown> = { ...variables }
  for (const [name, provider] of Object.entries(providedVariables ?? {})) {
    const readable = name.replace(/^__relay_internal__pv__|relayprovider$/g, '')
    query = query.replaceAll(name, readable)
    all[readable] = provider.get()
  }
  const parameters = new URLSearchParams({ document: query, variables: JSON.stringify(all, null, 2) })
  return `${GRAPHQL_PATH}#${parameters}`
}

/** Shows in GraphiQL what this view asks the service. */
export function OpenAsQuery({ document, variables }: Props) {
  return (
    <Button variant="subtle" size="compact-xs" component="a" href={queryAddress(document, variables)} target="_blank">
      Open as query
    </Button>
  )
}
