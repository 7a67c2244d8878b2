/** The ways of starting a run from one that has ended. */

import type { startDialogQuery$data } from '../__generated__/startDialogQuery.graphql'

type Run = NonNullable<startDialogQuery$data['flowRun']>
type Check = Omit<Run['rerunAll'], ' $fragmentType'> & {
  readonly reusedItems?: number | null
  readonly rerunItems?: number | null
}

export type Choice = {
  key: string
  label: string
  check: Check
  /** True if it starts at the step that is chosen. */
  fromStep: boolean
}

/** Reasons for which a second run is refused unless that is forced. */
const FORCIBLE = new Set(['RETRY_UNDER_WAY', 'ALREADY_RECOVERED', 'RETRIED_SINCE', 'RERUN_UNDER_WAY'])

const STRATEGIES = {
  FROM_FAILED_STEP: 'Retry from the failed step',
  FROM_FAILED_STEP_ON_LATEST_VERSION: 'Retry from the failed step, on the latest version',
  ON_LATEST_VERSION: 'Retry all steps, on the latest version',
  FROM_STEP: 'Retry from the chosen step',
} as const

export type Strategy = keyof typeof STRATEGIES

export const RERUN_ALL = 'RERUN_ALL'
export const RERUN_FROM_STEP = 'RERUN_FROM_STEP'

export function choicesOf(run: Run): Choice[] {
  const retries = (Object.keys(STRATEGIES) as Strategy[]).flatMap((key) => {
    const check = run.retryability.find(({ strategy }) => strategy === key)
    return check ? [{ key, label: labelOf(key, check), check, fromStep: key === 'FROM_STEP' }] : []
  })
  return [
    ...retries,
    { key: RERUN_ALL, label: 'Run again: all steps of the latest version', check: run.rerunAll, fromStep: false },
    { key: RERUN_FROM_STEP, label: 'Run again from the chosen step', check: run.rerunFromStep, fromStep: true },
  ]
}

function labelOf(strategy: Strategy, { rerunItems }: Check): string {
  if (strategy === 'FROM_FAILED_STEP' && rerunItems) return 'Retry only the failed items of the loop'
  return STRATEGIES[strategy]
}

export function isForcible({ allowed, reason }: Check): boolean {
  return !allowed && FORCIBLE.has(reason ?? '')
}

export function isStrategy(key: string): key is Strategy {
  return key in STRATEGIES
}

/** What would be kept and what would be executed, or why not. */
export function consequence({ allowed, message, reusedStepNames, rerunStepNames, reusedItems, rerunItems }: Check): string {
  if (!allowed) return `Not possible: ${message ?? 'the service refuses it.'}`
  const items = (count: number) => `${count.toLocaleString()} ${count === 1 ? 'item' : 'items'}`
  const kept = [names(reusedStepNames), ...(reusedItems ? [`${items(reusedItems)} of the loop`] : [])]
  const runs = [names(rerunStepNames), ...(rerunItems ? [`${items(rerunItems)} of the loop`] : [])]
  return `Keeps ${list(kept)}. Executes ${list(runs)}.${message ? ` ${message}` : ''}`
}

const SHOWN_NAMES = 8

function names(steps: readonly string[]): string {
  if (!steps.length) return 'no step'
  const rest = steps.length - SHOWN_NAMES
  return steps.slice(0, SHOWN_NAMES).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}

function list(parts: string[]): string {
  return parts.join(', with ')
}
