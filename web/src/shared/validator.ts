/** Checks forms against their JSON Schema. The usual validator compiles schemas to code, which the page's policy forbids. */

import { Validator, type OutputUnit, type Schema } from '@cfworker/json-schema'
import { toErrorSchema, type RJSFSchema, type RJSFValidationError, type ValidatorType } from '@rjsf/utils'

const MISSING = 'is required'

function errorsOf(schema: RJSFSchema, value: unknown): RJSFValidationError[] {
  if (value === undefined) return [{ name: 'required', property: '', message: MISSING, stack: MISSING }]
  // A parent reports again what is wrong in its properties.
  return found(schema, value)
    .filter(({ keyword }) => keyword !== 'properties' && keyword !== 'items')
    .map(({ instanceLocation, keyword, error }) => {
      const missing = keyword === 'required' ? /"([^"]+)"/.exec(error)?.[1] : undefined
      const path = instanceLocation.replace(/^#/, '').replaceAll('/', '.')
      const message = missing ? MISSING : error
      return { name: keyword, property: missing ? `${path}.${missing}` : path, message, stack: message }
    })
}

/** Schemas have patterns and references that only the service can read: then it alone decides. */
function found(schema: RJSFSchema, value: unknown): OutputUnit[] {
  try {
    return new Validator(schema as Schema, '2020-12', false).validate(value).errors
  } catch {
    return []
  }
}

const validator: ValidatorType = {
  validateFormData(formData, schema) {
    const errors = errorsOf(schema, formData)
    return { errors, errorSchema: toErrorSchema(errors) }
  },
  isValid(schema, formData, rootSchema) {
    const definitions = { $defs: rootSchema.$defs, definitions: rootSchema.definitions }
    return errorsOf({ ...definitions, ...schema }, formData).length === 0
  },
  rawValidation: <Result>(schema: RJSFSchema, formData: unknown) => ({
    errors: errorsOf(schema, formData) as unknown as Result[],
  }),
}

export default validator
