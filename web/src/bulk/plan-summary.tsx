import { Link } from '@tanstack/react-router'
import { words } from '../shared/status'
import { Time } from '../shared/time'

export type Plan = {
  readonly planId: string
  readonly eligible: number
  readonly expiresAt: string
  readonly ineligible: readonly { readonly reason: string; readonly count: number }[]
  readonly sample: readonly {
    readonly runId: string
    readonly plannedReason: string | null | undefined
    readonly run: { readonly flow: { readonly name: string }; readonly status: string } | null | undefined
  }[]
}

/** What a dry run found: how many runs would change, why others would not, and some of them. */
export function PlanSummary({ plan }: { plan: Plan }) {
  const skipped = plan.ineligible.reduce((sum, { count }) => sum + count, 0)
  return (
    <section className="panel" aria-label="Dry run">
      <header>
        <h2>
          {plan.eligible.toLocaleString()} eligible, {skipped.toLocaleString()} skipped
        </h2>
        <span className="grow" />
        <span className="dim">
          The plan holds until <Time at={plan.expiresAt} format="full" />
        </span>
      </header>
      <div className="body stack">
        {plan.ineligible.length > 0 && (
          <ul style={{ margin: 0, paddingLeft: 18 }}>
            {plan.ineligible.map(({ reason, count }) => (
              <li key={reason}>
                {count.toLocaleString()} {words(reason).toLowerCase()}
              </li>
            ))}
          </ul>
        )}
        <table className="plain" aria-label="Sample of the runs">
          <tbody>
            {plan.sample.map(({ runId, plannedReason, run }) => (
              <tr key={runId}>
                <td>
                  <Link to="/runs/$runId" params={{ runId }} target="_blank">
                    {run?.flow.name ?? runId}
                  </Link>
                </td>
                <td>{run && words(run.status)}</td>
                <td className="dim">{plannedReason ? `skipped: ${words(plannedReason).toLowerCase()}` : 'eligible'}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}
