import { Fragment } from 'react'
import { CopyButton } from './copy'
import './json-view.css'

/** Longer texts are not coloured: that many elements make a page slow. */
const LONGEST_COLOURED = 20_000
const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g

/** A JSON value as people read it, with a button that copies it. */
export function JsonView({ value, label }: { value: unknown; label: string }) {
  const text = JSON.stringify(value, null, 2) ?? 'null'
  return (
    <div className="json">
      <CopyButton text={text} label={`Copy ${label}`} />
      <pre tabIndex={0} aria-label={label}>
        {text.length > LONGEST_COLOURED ? text : coloured(text)}
      </pre>
    </div>
  )
}

function coloured(text: string) {
  const parts: React.ReactNode[] = []
  let end = 0
  for (const match of text.matchAll(TOKEN)) {
    const [whole, string, colon, word] = match
    const kind = string ? (colon ? 'key' : 'string') : word ? 'word' : 'number'
    const shown = string ?? whole
    parts.push(
      <Fragment key={match.index}>
        {text.slice(end, match.index)}
        <span className={`json-${kind}`}>{shown}</span>
      </Fragment>,
    )
    end = match.index + shown.length
  }
  return [...parts, text.slice(end)]
}
