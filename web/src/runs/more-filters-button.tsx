import { lazy, Suspense, useState } from 'react'
import { Button, Popover } from '@mantine/core'
import type { RunsSearch } from '../shared/filter'

type Props = { search: RunsSearch; onChange: (changes: RunsSearch) => void }

const load = () => import('./more-filters')
const MoreFilters = lazy(load)

/** Opens the panel of the filters that are needed less often. Its code is loaded when the pointer or the focus comes near. */
export function MoreFiltersButton({ search, onChange }: Props) {
  const [isOpen, setOpen] = useState(false)
  const [wasOpen, setWasOpen] = useState(false)
  const toggle = () => {
    setOpen(!isOpen)
    setWasOpen(true)
  }
  return (
    <Popover position="bottom-end" width={420} trapFocus shadow="md" opened={isOpen} onChange={setOpen}>
      <Popover.Target>
        <Button variant="default" onClick={toggle} onPointerEnter={() => void load()} onFocus={() => void load()}>
          More filters
        </Button>
      </Popover.Target>
      <Suspense>{wasOpen && <MoreFilters search={search} onChange={onChange} />}</Suspense>
    </Popover>
  )
}
