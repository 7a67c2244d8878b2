import '@mantine/core/styles.layer.css'
import { useEffect, useRef, useState, type KeyboardEvent } from 'react'
import Form from '@rjsf/mantine'
import type { RJSFSchema } from '@rjsf/utils'
import { Button } from '@mantine/core'
import validator from './validator'

type Props = {
  schema: unknown
  submitLabel: string
  /** True: the first field gets the focus. */
  isFocused?: boolean
  onSubmit: (value: unknown) => Promise<void>
}

/** A form that a JSON Schema describes. Control and Enter submit it from wherever the focus is. */
export default function SchemaForm({ schema, submitLabel, isFocused = false, onSubmit }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const [value, setValue] = useState<unknown>(undefined)
  const [isBusy, setBusy] = useState(false)
  const submit = async (data: unknown) => {
    setBusy(true)
    await onSubmit(data ?? {})
    setBusy(false)
  }
  useEffect(() => {
    if (isFocused) box.current?.querySelector<HTMLElement>('input, select, textarea, button')?.focus()
  }, [isFocused])
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return
    event.preventDefault()
    box.current?.querySelector('form')?.requestSubmit()
  }
  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- a shortcut of the fields in it
    <div ref={box} onKeyDown={onKeyDown}>
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
    </div>
  )
}
