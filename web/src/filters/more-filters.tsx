import { useState, type ComponentType } from 'react'
import { Button, Popover } from '@mantine/core'
import type { RunsFilter } from '../shared/filter'
import type { FilterPanelProps } from './filter-panel'

type Props = { filter: RunsFilter; onChange: (changes: RunsFilter) => void }

/** The filters that are needed less often, in a panel that is loaded when it is opened first. */
export function MoreFilters({ filter, onChange }: Props) {
  const [isOpen, setOpen] = useState(false)
  // Not lazy(): the panel must be there when the kit looks for its first field, to focus it.
  const [Panel, setPanel] = useState<ComponentType<FilterPanelProps> | null>(null)
  const toggle = async () => {
    if (!Panel) {
      const { FilterPanel } = await import('./filter-panel')
      setPanel(() => FilterPanel)
    }
    setOpen((old) => !old)
  }
  return (
    <Popover
      position="bottom-end"
      width="min(700px, calc(100vw - 20px))"
      trapFocus
      shadow="md"
      opened={isOpen}
      onChange={setOpen}
    >
      <Popover.Target>
        <Button variant="default" onClick={() => void toggle()}>
          More filters
        </Button>
      </Popover.Target>
      <Popover.Dropdown className="filter-panel" aria-label="More filters">
        {Panel && <Panel filter={filter} onChange={onChange} />}
      </Popover.Dropdown>
    </Popover>
  )
}
