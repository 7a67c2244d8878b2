/** Conditions on values of the metadata, as people write them. */

import type { RunsFilter } from '../shared/filter'

export type Condition = NonNullable<RunsFilter['metadataConditions']>[number]

export const COMPARISONS = [
  { value: 'equals', label: 'is' },
  { value: 'prefix', label: 'begins with' },
  { value: 'atLeast', label: 'at least' },
  { value: 'atMost', label: 'at most' },
  { value: 'exists', label: 'exists' },
]
/** Comparisons that links and saved views can hold as well. */
const OTHERS: Record<string, string> = { in: 'is one of', greaterThan: 'above', lessThan: 'below' }

export function conditionOf(path: string, comparison: string, value: string): Condition {
  switch (comparison) {
    case 'exists':
      return { path, exists: true }
    case 'prefix':
      return { path, prefix: value }
    case 'atLeast':
      return { path, atLeast: Number(value) }
    case 'atMost':
      return { path, atMost: Number(value) }
    default:
      return { path, equals: asJson(value) }
  }
}

/** Numbers and booleans as such; everything else is a string. `"1"` in quotes is the string. */
function asJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' ? text : value
  } catch {
    return text
  }
}

export function conditionText({ path, ...comparisons }: Condition): string {
  const said = Object.entries(comparisons)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => {
      if (name === 'exists') return value ? 'exists' : 'does not exist'
      const label = COMPARISONS.find((it) => it.value === name)?.label ?? OTHERS[name] ?? name
      return `${label} ${typeof value === 'string' ? value : JSON.stringify(value)}`
    })
  return `${path} ${said.join(' and ')}`
}
