import { useState } from 'react'

const SHOWN_MS = 1_200

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [isCopied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    setCopied(true)
    setTimeout(() => setCopied(false), SHOWN_MS)
  }
  return (
    <button type="button" className="copy" aria-label={label} onClick={() => void copy()}>
      {isCopied ? 'Copied' : 'Copy'}
    </button>
  )
}

/** An ID with a button that copies it. */
export function CopyableId({ id }: { id: string }) {
  return (
    <span className="line" style={{ gap: 6, flexWrap: 'nowrap', minWidth: 0 }}>
      <code className="mono cut dim">{id}</code>
      <CopyButton text={id} label="Copy ID" />
    </span>
  )
}
