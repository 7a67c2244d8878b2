import { useEffect, useRef, useState, type SubmitEvent } from 'react'
import { TextInput } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { RUN_ID } from '../shared/run-id'

type Props = { text: string | undefined | null; onChange: (text: string | undefined) => void }

/** The text of errors. `/` goes to this field; a run ID in it opens the run. */
export function TextFilter({ text, onChange }: Props) {
  const field = useRef<HTMLInputElement>(null)
  const [value, setValue] = useState(text ?? '')
  const navigate = useNavigate()
  useEffect(() => setValue(text ?? ''), [text])
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement
      if (event.key !== '/' || target.closest('input, textarea, [contenteditable], .monaco-editor')) return
      event.preventDefault()
      field.current?.select()
    }
    addEventListener('keydown', focus)
    return () => removeEventListener('keydown', focus)
  }, [])

  const apply = (entered: string) => {
    const trimmed = entered.trim()
    if (RUN_ID.test(trimmed)) void navigate({ to: '/runs/$runId', params: { runId: trimmed } })
    else onChange(trimmed || undefined)
  }
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    apply(value)
  }
  return (
    <form onSubmit={submit} className="filter-text">
      <TextInput
        ref={field}
        type="search"
        aria-label="Error text or run ID"
        placeholder="Error text, or a run ID    /"
        value={value}
        onChange={(event) => setValue(event.currentTarget.value)}
        onBlur={() => value.trim() !== (text ?? '') && apply(value)}
        onPaste={(event) => {
          const pasted = event.clipboardData.getData('text').trim()
          if (RUN_ID.test(pasted)) apply(pasted)
        }}
        rightSectionWidth={0}
      />
    </form>
  )
}
