import { CopyButton } from '../shared/copy'

/** A secret that is shown this once, with a button that copies it. */
export function NewSecret({ label, secret }: { label: string; secret: string }) {
  return (
    <div className="operate-secret stack" role="status" aria-label={label} style={{ gap: 4 }}>
      <b>{label}: it is shown only now.</b>
      <span className="line">
        <code className="mono prose">{secret}</code>
        <CopyButton text={secret} label={`Copy: ${label}`} />
      </span>
    </div>
  )
}
