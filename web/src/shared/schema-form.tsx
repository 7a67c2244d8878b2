import '@mantine/core/styles.layer.css'
import './form.css'
import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from 'react'
import Form from '@rjsf/mantine'
import { Button } from '@mantine/core'
import { drawable } from './drawable'
import { FIELDS, TEMPLATES, WIDGETS } from './form-fields'
import validator from './validator'

type Props = {
  schema: unknown
  /** What the value is called, unless the schema names it or it is an object. */
  label: string
  submitLabel: string
  /** True: the first field gets the focus. */
  isFocused?: boolean
  onSubmit: (value: unknown) => Promise<void>
}

/** Nobody has said no by saying nothing. */
const DEFAULTS = { requiredBooleanDefault: 'skip' } as const

/** A form that a JSON Schema describes. Control and Enter submit it from wherever the focus is. */
export default function SchemaForm({ schema, label, submitLabel, isFocused = false, onSubmit }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const [value, setValue] = useState<unknown>(undefined)
  const [isBusy, setBusy] = useState(false)
  // The library's own ID is that of the page's root.
  const idPrefix = `form${useId()}`
  const drawn = useMemo(() => drawable(schema, label), [schema, label])
  const submit = async (data: unknown) => {
    setBusy(true)
    await onSubmit(data)
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
        schema={drawn}
        idPrefix={idPrefix}
        validator={validator}
        widgets={WIDGETS}
        fields={FIELDS}
        templates={TEMPLATES}
        experimental_defaultFormStateBehavior={DEFAULTS}
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
