import { useState } from 'react'
import { Autocomplete, Loader, TagsInput, type ComboboxData } from '@mantine/core'
import type { RunsFilter } from '../shared/filter'
import { usePicker, type Picker, type PickerOption, type ReadOptions } from './use-picker'

type Props = {
  label: string
  placeholder?: string
  read: ReadOptions
  /** The runs whose values are listed. */
  filter: RunsFilter
}

/** Several values. Values that are not listed can be typed. */
export function PickerOfValues({ values, onChange, ...props }: Props & ListProps) {
  const [typed, setTyped] = useState('')
  const picker = usePicker(props.read, props.filter, typed)
  return (
    <TagsInput
      {...shared(props, picker)}
      value={[...(values ?? [])]}
      onChange={onChange}
      searchValue={typed}
      onSearchChange={setTyped}
      splitChars={[]}
      isDuplicate={(value, others) => others.includes(value)}
    />
  )
}

type ListProps = { values: readonly string[] | null | undefined; onChange: (values: string[]) => void }

/** One value, which can be typed as well. It counts once it is chosen, or the field is left. */
export function PickerOfOne({ value, onChange, ...props }: Props & OneProps) {
  const held = value ?? ''
  const [typed, setTyped] = useState(held)
  const [previous, setPrevious] = useState(held)
  if (previous !== held) {
    setPrevious(held)
    setTyped(held)
  }
  // What was chosen before is no beginning of other values.
  const picker = usePicker(props.read, props.filter, typed === held ? '' : typed)
  const choose = (chosen: string) => chosen.trim() !== held && onChange(chosen.trim() || undefined)
  return (
    <Autocomplete
      {...shared(props, picker)}
      value={typed}
      onChange={setTyped}
      onOptionSubmit={choose}
      onBlur={() => choose(typed)}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && !event.currentTarget.getAttribute('aria-activedescendant')) choose(typed)
      }}
    />
  )
}

type OneProps = { value: string | null | undefined; onChange: (value: string | undefined) => void }

/** What all fields with options have: the options come from the service, with the number of runs. */
export function shared({ label, placeholder }: Pick<Props, 'label' | 'placeholder'>, picker: Picker) {
  const options = new Map(picker.options.map((option) => [option.value, option]))
  return {
    label,
    placeholder,
    data: dataOf(picker),
    filter: ({ options: all }: { options: ComboboxData }) => all as never,
    renderOption: ({ option }: { option: { value: string } }) => <Option {...(options.get(option.value) ?? option)} />,
    error: picker.error || undefined,
    rightSection: picker.isLoading ? <Loader size={12} aria-label="Loading" /> : undefined,
    onDropdownOpen: picker.onOpen,
    onDropdownClose: picker.onClose,
    maxDropdownHeight: 260,
    // In a panel that opens over the page, an option outside of it would close it.
    comboboxProps: { withinPortal: false },
  }
}

function dataOf({ options, isExact }: Picker): ComboboxData {
  const values = options.map(({ value }) => value)
  return isExact || !values.length ? values : [{ group: 'In the newest 10,000 runs', items: values }]
}

function Option({ value, label, count }: PickerOption) {
  return (
    <span className="picker-option">
      <span className="cut" title={label ?? value}>
        {label ?? value}
      </span>
      {count !== undefined && <span className="dim">{count.toLocaleString()}</span>}
    </span>
  )
}
