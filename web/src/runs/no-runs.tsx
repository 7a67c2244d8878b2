import { Button } from '@mantine/core'
import { Link, useSearch } from '@tanstack/react-router'
import { isFiltered as holdsFilter } from '../shared/filter'

/** An empty list says what to do next. */
export function NoRuns() {
  const isFiltered = holdsFilter(useSearch({ from: '/' }))
  return (
    <div className="empty">
      <strong>{isFiltered ? 'No run matches these filters' : 'There are no runs yet'}</strong>
      <span>
        {isFiltered
          ? 'Runs appear here by themselves as soon as they match.'
          : 'Start a run of one of the flows: it appears here by itself.'}
      </span>
      {isFiltered ? (
        <Button variant="default" renderRoot={(props) => <Link to="/" search={{}} {...props} />}>
          Clear the filters
        </Button>
      ) : (
        <Button renderRoot={(props) => <Link to="/flows" {...props} />}>Flows</Button>
      )}
    </div>
  )
}
