import { Select } from '@mantine/core'
import { filterOf, type FilterField, type RunsSearch } from '../shared/filter'
import { FilterChips } from './filter-chips'
import { FlowPicker } from './flow-picker'
import { MoreFilters } from './more-filters'
import { TextFilter } from './text-filter'
import { rangeOfSearch, rangesFor, searchOfRange } from './time-range'
import './filters.css'

type Props = {
  search: RunsSearch
  onChange: (changes: RunsSearch) => void
  onClear: () => void
  /** Filters that another control of the page shows. */
  shownElsewhere?: readonly FilterField[]
}

const NONE: readonly FilterField[] = []

/** Everything that the runs of a page can be restricted by. */
export function FilterBar({ search, onChange, onClear, shownElsewhere = NONE }: Props) {
  return (
    <search className="filter-bar">
      <div className="filter-line">
        <TextFilter text={search.errorContains} onChange={(errorContains) => onChange({ errorContains })} />
        <Select
          aria-label="Created"
          data={rangesFor(search)}
          value={rangeOfSearch(search)}
          onChange={(range) => onChange(searchOfRange(range ?? 'ANY'))}
          allowDeselect={false}
          w={160}
          maxDropdownHeight={400}
        />
        <FlowPicker search={search} onChange={onChange} />
        <MoreFilters filter={filterOf(search)} onChange={onChange} />
      </div>
      <FilterChips search={search} onChange={onChange} onClear={onClear} shownElsewhere={shownElsewhere} />
    </search>
  )
}
