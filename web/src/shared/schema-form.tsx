import '@mantine/core/styles.layer.css'
import { useState } from 'react'
import Form from '@rjsf/mantine'
import type { RJSFSchema } from '@rjsf/utils'
import { Button } from '@mantine/core'
import validator from './validator'

type Props = { schema: unknown; submitLabel: string; onSubmit: (value: unknown) => Promise<void> }

/** A form that a JSON Schema describes. */
export default function SchemaForm({ schema, submitLabel, onSubmit }: Props) {
  const [value, setValue] = useState<unknown>(undefined)
  const [isBusy, setBusy] = useState(false)
  const submit = async (data: unknown) => {
    setBusy(true)
    await onSubmit(data ?? {})
    setBusy(false)
  }
  return (
    <Form
      schema={schema as RJSFSchema}
      validator={validator}
      formData={value}
      onChange={({ formData }) => setValue(formData)}
      onSubmit={({ formData }) => void submit(formData)}
      showErrorList={false}
      className="stack"
    >
      <div>
        <Button type="submit" loading={isBusy}>
          {submitLabel}
        </Button>
      </div>
    </Form>
  )
}
