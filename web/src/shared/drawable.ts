/** Prepares JSON Schemas for the library that draws forms. */

import type { RJSFSchema } from '@rjsf/utils'

/** The library leaves out what says nothing; a comment makes a field of it. */
const ANY = { $comment: 'any value' }
const MAPS = ['properties', '$defs', 'definitions']
const LISTS = ['prefixItems', 'oneOf', 'anyOf', 'allOf']
/** Keywords of objects, whose fields have labels of their own. */
const OF_OBJECTS = ['properties', 'additionalProperties', 'oneOf', 'anyOf', 'allOf', '$ref']

/** The schema with a field for each value that it describes. A value that is no object is called `label`. */
export function drawable(schema: unknown, label: string): RJSFSchema {
  const drawn = withFields(schema)
  const isObject = drawn.type === 'object' || (drawn.type === undefined && OF_OBJECTS.some((key) => key in drawn))
  return isObject ? drawn : { title: label, ...drawn }
}

function withFields(schema: unknown): RJSFSchema {
  if (!isRecord(schema) || !Object.keys(schema).length) return schema === false ? { not: {} } : ANY
  const drawn: Record<string, unknown> = { ...schema }
  for (const key of MAPS) {
    const members = drawn[key]
    if (isRecord(members))
      drawn[key] = Object.fromEntries(Object.entries(members).map(([name, inner]) => [name, withFields(inner)]))
  }
  for (const key of LISTS) if (Array.isArray(drawn[key])) drawn[key] = drawn[key].map(withFields)
  if (isRecord(drawn.items) || drawn.items === true) drawn.items = withFields(drawn.items)
  return drawn
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The time as an input of the type `datetime-local` has it: in the viewer's zone, and without naming it. */
export function localTime(at: unknown): string {
  const time = new Date(typeof at === 'string' ? at : NaN)
  if (Number.isNaN(time.getTime())) return ''
  const digits = (value: number, width = 2) => String(value).padStart(width, '0')
  const date = [digits(time.getFullYear(), 4), digits(time.getMonth() + 1), digits(time.getDate())].join('-')
  return `${date}T${[time.getHours(), time.getMinutes(), time.getSeconds()].map((value) => digits(value)).join(':')}`
}

/** The instant of a local time. Undefined if the input has none, or not all of it. */
export function instantOf(local: string): string | undefined {
  const time = new Date(local)
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString()
}

export type Parsed = { value?: unknown; problem: string }

/** The value of JSON text, or what is wrong with it. Blank is no value. */
export function parsed(text: string): Parsed {
  if (!text.trim()) return { problem: '' }
  try {
    return { value: JSON.parse(text) as unknown, problem: '' }
  } catch {
    return { problem: 'This is not JSON: texts stand in double quotes, as in "text".' }
  }
}
