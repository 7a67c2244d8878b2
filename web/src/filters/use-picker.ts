import { useEffect, useState } from 'react'
import { useDebouncedValue } from '@mantine/hooks'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { Environment } from 'relay-runtime'
import type { RunsFilter } from '../shared/filter'

export type PickerOption = {
  /** The value, as a filter takes it. */
  value: string
  /** What a person reads, if it differs from the value. */
  label?: string
  /** Number of runs. */
  count?: number
}
export type PickerOptions = {
  options: PickerOption[]
  /** False if only the newest runs were counted. */
  isExact: boolean
}
/** Reads the options that begin with a text. */
export type ReadOptions = (environment: Environment, filter: RunsFilter, prefix: string) => Promise<PickerOptions>

/** Typing that pauses for so long is over. */
const PAUSE_MS = 200
const NOTHING: PickerOptions = { options: [], isExact: true }

export type Picker = PickerOptions & {
  isLoading: boolean
  /** Why the options could not be read. */
  error: string
  onOpen: () => void
  onClose: () => void
}

/** The options of a field in which `typed` stands. They are read when it opens, and not before. */
export function usePicker(read: ReadOptions, filter: RunsFilter, typed: string): Picker {
  const environment = useRelayEnvironment()
  const [isOpen, setOpen] = useState(false)
  const [prefix] = useDebouncedValue(typed, PAUSE_MS)
  const [found, setFound] = useState<PickerOptions>(NOTHING)
  const [isLoading, setLoading] = useState(false)
  const [error, setError] = useState('')
  const address = JSON.stringify(filter)
  useEffect(() => {
    if (!isOpen) return
    let isLatest = true
    const only = (work: () => void) => () => isLatest && work()
    setLoading(true)
    setError('')
    read(environment, JSON.parse(address) as RunsFilter, prefix)
      .then((options) => only(() => setFound(options))())
      .catch((reason: Error) => only(() => setError(reason.message))())
      .finally(only(() => setLoading(false)))
    return () => {
      isLatest = false
    }
  }, [environment, read, address, prefix, isOpen])
  return { ...found, isLoading, error, onOpen: () => setOpen(true), onClose: () => setOpen(false) }
}
