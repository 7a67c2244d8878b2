/** Reads of the values that runs have, from which a person composes a filter. */

import { fetchQuery, graphql } from 'react-relay/hooks'
import type { pickerRequestsErrorsQuery } from '../__generated__/pickerRequestsErrorsQuery.graphql'
import type { pickerRequestsFailedStepsQuery } from '../__generated__/pickerRequestsFailedStepsQuery.graphql'
import type { pickerRequestsMetadataKeysQuery } from '../__generated__/pickerRequestsMetadataKeysQuery.graphql'
import type { pickerRequestsMetadataValuesQuery } from '../__generated__/pickerRequestsMetadataValuesQuery.graphql'
import type { pickerRequestsSourcesQuery } from '../__generated__/pickerRequestsSourcesQuery.graphql'
import type { pickerRequestsTagsQuery } from '../__generated__/pickerRequestsTagsQuery.graphql'
import { pathWithKey, splitPath } from './metadata-path'
import type { PickerOptions, ReadOptions } from './use-picker'

const TAGS = graphql`
  query pickerRequestsTagsQuery($filter: FlowRunFilter, $prefix: String!) {
    pickers(filter: $filter) {
      tags(prefix: $prefix) {
        isExact
        values {
          value
          count
        }
      }
    }
  }
`

const SOURCES = graphql`
  query pickerRequestsSourcesQuery($filter: FlowRunFilter, $prefix: String!) {
    pickers(filter: $filter) {
      sources(prefix: $prefix) {
        isExact
        values {
          value
          count
        }
      }
    }
  }
`

const FAILED_STEPS = graphql`
  query pickerRequestsFailedStepsQuery($filter: FlowRunFilter, $prefix: String!) {
    pickers(filter: $filter) {
      failedSteps(prefix: $prefix) {
        isExact
        values {
          value
          count
        }
      }
    }
  }
`

const METADATA_KEYS = graphql`
  query pickerRequestsMetadataKeysQuery($filter: FlowRunFilter, $path: String, $prefix: String!) {
    pickers(filter: $filter) {
      metadataKeys(path: $path, prefix: $prefix) {
        isExact
        values {
          value
          count
        }
      }
    }
  }
`

const METADATA_VALUES = graphql`
  query pickerRequestsMetadataValuesQuery($filter: FlowRunFilter, $path: String!, $prefix: String!) {
    pickers(filter: $filter) {
      metadataValues(path: $path, prefix: $prefix) {
        isExact
        values {
          value
          count
        }
      }
    }
  }
`

const ERRORS = graphql`
  query pickerRequestsErrorsQuery($filter: FlowRunFilter) {
    flowRunStats(filter: $filter) {
      failures(first: 100) {
        fingerprint
        count
        message
      }
    }
  }
`

type Counted = { readonly isExact: boolean; readonly values: readonly { readonly value: string; readonly count: number }[] }

const optionsOf = ({ isExact, values }: Counted): PickerOptions => ({ isExact, options: [...values] })

export const readTags: ReadOptions = async (environment, filter, prefix) => {
  const data = await fetchQuery<pickerRequestsTagsQuery>(environment, TAGS, { filter, prefix }).toPromise()
  return optionsOf(data!.pickers.tags)
}

export const readSources: ReadOptions = async (environment, filter, prefix) => {
  const data = await fetchQuery<pickerRequestsSourcesQuery>(environment, SOURCES, { filter, prefix }).toPromise()
  return optionsOf(data!.pickers.sources)
}

export const readFailedSteps: ReadOptions = async (environment, filter, prefix) => {
  const variables = { filter, prefix }
  const data = await fetchQuery<pickerRequestsFailedStepsQuery>(environment, FAILED_STEPS, variables).toPromise()
  return optionsOf(data!.pickers.failedSteps)
}

/** The paths one level below what is typed: `customer.` has `customer.id`. */
export const readMetadataPaths: ReadOptions = async (environment, filter, typed) => {
  const { path, prefix } = splitPath(typed)
  const variables = { filter, path, prefix }
  const data = await fetchQuery<pickerRequestsMetadataKeysQuery>(environment, METADATA_KEYS, variables).toPromise()
  const { isExact, options } = optionsOf(data!.pickers.metadataKeys)
  return { isExact, options: options.map((option) => ({ ...option, value: pathWithKey(path, option.value) })) }
}

export const readMetadataValues =
  (path: string): ReadOptions =>
  async (environment, filter, prefix) => {
    if (!path) return { isExact: true, options: [] }
    const variables = { filter, path, prefix }
    const data = await fetchQuery<pickerRequestsMetadataValuesQuery>(environment, METADATA_VALUES, variables).toPromise()
    const { isExact, values } = data!.pickers.metadataValues
    return { isExact, options: values.map(({ value, count }) => ({ value: textOfValue(value), count })) }
  }

/** A text for the field of a value, which reads `7` as a number: the string has quotes then. */
function textOfValue(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value)
  try {
    JSON.parse(value)
    return JSON.stringify(value)
  } catch {
    return value
  }
}

/** Errors by fingerprint; what is typed is searched in their messages. */
export const readErrors: ReadOptions = async (environment, filter, typed) => {
  const data = await fetchQuery<pickerRequestsErrorsQuery>(environment, ERRORS, { filter }).toPromise()
  const word = typed.toLowerCase()
  const options = data!.flowRunStats.failures
    .filter(({ fingerprint, message }) => `${fingerprint} ${message}`.toLowerCase().includes(word))
    .map(({ fingerprint, message, count }) => ({ value: fingerprint, label: message, count }))
  return { isExact: true, options }
}
