/** Fields of forms in place of those of the library. */

import { useState, type ChangeEvent, type ComponentType } from 'react'
import { Widgets } from '@rjsf/mantine'
import type {
  ArrayFieldTitleProps,
  FieldProps,
  RegistryFieldsType,
  RegistryWidgetsType,
  TemplatesType,
  TitleFieldProps,
  WidgetProps,
} from '@rjsf/utils'
import { titleId } from '@rjsf/utils'
import { Textarea, TextInput } from '@mantine/core'
import { instantOf, localTime, parsed } from './drawable'
import { TIME_ZONE } from './time'

const { CheckboxWidget, RadioWidget } = Widgets as Record<'CheckboxWidget' | 'RadioWidget', ComponentType<WidgetProps>>

/** Yes or no where one of them must be said: a box that has to be checked could not say no. */
function BooleanWidget(props: WidgetProps) {
  const { id, required, schema, options, registry } = props
  const isRoot = id === registry.globalFormOptions.idPrefix
  if (!required && !isRoot) return <CheckboxWidget {...props} />
  return <RadioWidget {...props} options={{ ...options, size: 'xs', description: schema.description }} />
}

type InputProps = {
  field: WidgetProps
  type: 'date' | 'datetime-local' | 'text'
  value: string
  hint?: string
  /** Of what is entered; that itself by default. */
  toValue?: (text: string) => string | undefined
}

function Input({ field, type, value, hint, toValue }: InputProps) {
  const { id, htmlName, label, hideLabel, required, disabled, readonly, schema, rawErrors, onChange } = field
  return (
    <TextInput
      id={id}
      name={htmlName || id}
      type={type}
      step={type === 'datetime-local' ? 1 : undefined}
      label={hideLabel ? undefined : label}
      description={[schema.description, hint].filter(Boolean).join(' ') || undefined}
      required={required}
      disabled={disabled || readonly}
      error={rawErrors?.join('\n')}
      value={value}
      onChange={({ currentTarget }) => onChange(toValue ? toValue(currentTarget.value) : currentTarget.value || undefined)}
    />
  )
}

function DateWidget(field: WidgetProps) {
  return <Input field={field} type="date" value={String(field.value ?? '')} />
}

/** Takes a time of the viewer's zone, and gives the instant as the format `date-time` has it. */
function DateTimeWidget(field: WidgetProps) {
  const hint = `Time zone: ${TIME_ZONE}.`
  return <Input field={field} type="datetime-local" value={localTime(field.value)} toValue={instantOf} hint={hint} />
}

function TimeWidget(field: WidgetProps) {
  const hint = 'With its offset, as in 14:30:00Z or 14:30:00+02:00.'
  return <Input field={field} type="text" value={String(field.value ?? '')} hint={hint} />
}

/** JSON text, for values whose schema names no type. */
function JsonField({ fieldPathId, schema, title, name, required, formData, rawErrors, onChange }: FieldProps) {
  const [text, setText] = useState(formData === undefined ? '' : JSON.stringify(formData, null, 2))
  const [problem, setProblem] = useState('')
  const change = ({ currentTarget: input }: ChangeEvent<HTMLTextAreaElement>) => {
    const { value, problem: found } = parsed(input.value)
    input.setCustomValidity(found)
    setText(input.value)
    setProblem(found)
    onChange(value, fieldPathId.path)
  }
  return (
    <Textarea
      id={fieldPathId.$id}
      label={title ?? schema.title ?? name}
      description={[schema.description, 'A value in JSON.'].filter(Boolean).join(' ')}
      rows={4}
      classNames={{ input: 'mono' }}
      required={required || !fieldPathId.path.length}
      error={problem || rawErrors?.join('\n')}
      value={text}
      onChange={change}
    />
  )
}

/** The name of a group, which is no heading: forms stand below headings of different levels. */
function GroupTitle({ id, title }: Pick<TitleFieldProps, 'id' | 'title'>) {
  return (
    <strong id={id} className="form-group">
      {title}
    </strong>
  )
}

function ListTitle({ fieldPathId, title }: ArrayFieldTitleProps) {
  return title ? <GroupTitle id={titleId(fieldPathId)} title={title} /> : null
}

export const WIDGETS: RegistryWidgetsType = { CheckboxWidget: BooleanWidget, DateWidget, DateTimeWidget, TimeWidget }
export const FIELDS: RegistryFieldsType = { FallbackField: JsonField }
export const TEMPLATES: Partial<TemplatesType> = { TitleFieldTemplate: GroupTitle, ArrayFieldTitleTemplate: ListTitle }
