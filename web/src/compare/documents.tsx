import { graphql, useFragment } from 'react-relay/hooks'
import type { documents_comparison$key } from '../__generated__/documents_comparison.graphql'
import { Differences } from './differences'

const FRAGMENT = graphql`
  fragment documents_comparison on RunComparison
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    sameVersion
    input @include(if: $payloads) {
      ...differences_of
    }
    output @include(if: $payloads) {
      ...differences_of
    }
    metadata {
      ...differences_of
    }
    definition {
      ...differences_of
    }
  }
`

/** What the runs were given, what they returned, and by which definitions. */
export function Documents({ comparison }: { comparison: documents_comparison$key }) {
  const { input, output, metadata, definition } = useFragment(FRAGMENT, comparison)
  return (
    <section className="panel" aria-label="Documents">
      <header>
        <h2>Inputs, outputs and definitions</h2>
      </header>
      <div className="body stack">
        {input && <Differences title="Input" of={input} />}
        {output && <Differences title="Output" of={output} />}
        <Differences title="Metadata" of={metadata} />
        <Differences title="Definition without its steps" of={definition} />
      </div>
    </section>
  )
}
