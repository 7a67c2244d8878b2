/** Checks forms against their JSON Schema. The usual validator compiles schemas to code, which the page's policy forbids. */

import { Validator, type Schema } from '@cfworker/json-schema'
import { toErrorSchema, type RJSFSchema, type RJSFValidationError, type ValidatorType } from '@rjsf/utils'

function errorsOf(schema: RJSFSchema, value: unknown): RJSFValidationError[] {
  const { errors } = new Validator(schema as Schema, '2020-12', false).validate(value)
  // A parent reports again what is wrong in its properties.
  return errors
    .filter(({ keyword }) => keyword !== 'properties' && keyword !== 'items')
    .map(({ instanceLocation, keyword, error }) => {
      const missing = keyword === 'required' ? /"([^"]+)"/.exec(error)?.[1] : undefined
      const path = instanceLocation.replace(/^#/, '').replaceAll('/', '.')
      const message = missing ? 'is required' : error
      return { name: keyword, property: missing ? `${path}.${missing}` : path, message, stack: message }
    })
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
