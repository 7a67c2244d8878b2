import { MultiSelect } from '@mantine/core'
import { FilterChips } from '../filters/filter-chips'
import { FlowPicker } from '../filters/flow-picker'
import { MoreFilters } from '../filters/more-filters'
import { filterOf, listOf, type RunsFilter } from '../shared/filter'
import { STATUSES, words } from '../shared/status'
import '../filters/filters.css'

type Props = { filter: RunsFilter; onChange: (filter: RunsFilter) => void }

const CHOICES = STATUSES.map((value) => ({ value, label: words(value) }))
const SHOWN_ELSEWHERE = ['statuses'] as const

/** The runs whose events count, chosen with the fields of the list of runs. */
export function RunFilter({ filter, onChange }: Props) {
  // Fields that were cleared must not be sent as null.
  const change = (changes: RunsFilter) => onChange(filterOf({ ...filter, ...changes }))
  return (
    <fieldset className="filter-group operate-runs">
      <legend>Which runs</legend>
      <div className="filter-line">
        <FlowPicker search={filter} onChange={change} />
        <MultiSelect
          aria-label="Statuses"
          className="filter-flows"
          placeholder={filter.statuses?.length ? undefined : 'All statuses'}
          data={CHOICES}
          value={[...(filter.statuses ?? [])]}
          onChange={(values) => change({ statuses: listOf(values) as RunsFilter['statuses'] })}
        />
        <MoreFilters filter={filter} onChange={change} />
      </div>
      <FilterChips search={filter} onChange={change} onClear={() => onChange({})} shownElsewhere={SHOWN_ELSEWHERE} />
    </fieldset>
  )
}
