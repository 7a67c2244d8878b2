import type { differences_of$key } from '../__generated__/differences_of.graphql'
import { graphql, useFragment } from 'react-relay/hooks'

export const FRAGMENT = graphql`
  fragment differences_of on JsonDifferences {
    hasMore
    differences {
      path
      kind
      a
      b
    }
  }
`

type Props = { title: string; of: differences_of$key }

/** The places at which two JSON documents differ, with both values. */
export function Differences({ title, of }: Props) {
  const { differences, hasMore } = useFragment(FRAGMENT, of)
  if (!differences.length)
    return (
      <p className="compare-same">
        <b>{title}</b> <span className="dim">no difference</span>
      </p>
    )
  return (
    <div className="scroll-x">
      <table className="plain compare-differences" aria-label={`Differences of ${title.toLowerCase()}`}>
        <thead>
          <tr>
            <th scope="col">{title}</th>
            <th scope="col">Left</th>
            <th scope="col">Right</th>
          </tr>
        </thead>
        <tbody>
          {differences.map(({ path, kind, a, b }) => (
            <tr key={path}>
              <td>
                <code className="mono compare-value">{path || 'all of it'}</code>
              </td>
              <td>{kind === 'ADDED' ? <Absent /> : <Value value={a} label="Left" />}</td>
              <td>{kind === 'REMOVED' ? <Absent /> : <Value value={b} label="Right" />}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {hasMore && <p className="compare-note">There are more differences. “Open as query” reads up to 1,000.</p>}
    </div>
  )
}

function Absent() {
  return <span className="dim">absent</span>
}

function Value({ value, label }: { value: unknown; label: string }) {
  return (
    <pre tabIndex={0} aria-label={label} className="mono compare-value compare-document">
      {JSON.stringify(value, null, 2) ?? 'null'}
    </pre>
  )
}
