import { NumberInput, TextInput } from '@mantine/core'
import '@mantine/core/styles/NumberInput.layer.css'

const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS

type FieldProps<T> = { label: string; onChange: (value: T | undefined) => void }

export function TextField({ label, value, onChange }: FieldProps<string> & { value: string | null | undefined }) {
  return (
    <TextInput
      key={value}
      label={label}
      defaultValue={value ?? ''}
      onBlur={(event) => {
        const text = event.currentTarget.value.trim()
        if (text !== (value ?? '')) onChange(text || undefined)
      }}
      onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
    />
  )
}

export function Seconds({ label, ms, onChange }: FieldProps<number> & { ms: number | null | undefined }) {
  return (
    <NumberInput
      key={ms}
      label={label}
      min={0}
      defaultValue={ms == null ? '' : ms / SECOND_MS}
      onBlur={(event) => {
        const text = event.currentTarget.value
        const entered = text === '' ? undefined : Math.round(Number(text) * SECOND_MS)
        if (entered !== (ms ?? undefined)) onChange(entered)
      }}
      hideControls
    />
  )
}

export function Instant({ label, at, onChange }: FieldProps<string> & { at: string | null | undefined }) {
  const held = at ? localTime(at) : ''
  return (
    <TextInput
      key={at}
      label={label}
      type="datetime-local"
      defaultValue={held}
      onBlur={(event) => {
        const text = event.currentTarget.value
        if (text !== held) onChange(text ? new Date(text).toISOString() : undefined)
      }}
    />
  )
}

/** An instant as the field for local times has it. */
function localTime(at: string): string {
  const instant = new Date(at)
  return new Date(instant.getTime() - instant.getTimezoneOffset() * MINUTE_MS).toISOString().slice(0, 16)
}
