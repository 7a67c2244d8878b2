import { lazy, Suspense, useState } from 'react'
import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import type { BulkKind } from '../bulk/kinds'
import type { RunsFilter } from '../shared/filter'
import { useMayOperate } from '../shared/viewer'
import type { Selection } from './use-selection'

const BulkDialog = lazy(() => import('../bulk/bulk-dialog'))

type Props = { selection: Selection; filter: RunsFilter; total: number | null }

/** What can be done with the selected runs. */
export function SelectionBar({ selection, filter, total }: Props) {
  const { isAll, ids, clear } = selection
  const [kind, setKind] = useState<BulkKind | null>(null)
  const mayOperate = useMayOperate()
  if (!isAll && !ids.size) return null
  const count = isAll ? (total === null ? null : total - ids.size) : ids.size
  // Runs that are named are found in the archive, too.
  const chosen = isAll ? filter : { ids: [...ids] }
  // IDs are in the order of their creation.
  const [left, right] = [...ids].toSorted()
  return (
    <div className="line selection" role="group" aria-label="Selected runs">
      <span>
        {count?.toLocaleString() ?? 'All matching'} selected{isAll && ', all that match'}
      </span>
      {!isAll && ids.size === 2 && (
        <Button
          size="compact-xs"
          variant="default"
          renderRoot={(props) => <Link to="/compare" search={{ left, right }} {...props} />}
        >
          Compare
        </Button>
      )}
      {mayOperate && (
        <>
          <Button size="compact-xs" onClick={() => setKind('RETRY')}>
            Retry
          </Button>
          <Button size="compact-xs" variant="default" onClick={() => setKind('CANCEL')}>
            Cancel
          </Button>
          <Button size="compact-xs" variant="default" onClick={() => setKind('ARCHIVE')}>
            Archive
          </Button>
          <Button size="compact-xs" variant="default" onClick={() => setKind('UNARCHIVE')}>
            Unarchive
          </Button>
        </>
      )}
      <Button size="compact-xs" variant="subtle" onClick={clear}>
        Clear
      </Button>
      {kind && (
        <Suspense>
          <BulkDialog
            kind={kind}
            filter={chosen}
            excludeIds={isAll ? [...ids] : []}
            onClose={() => setKind(null)}
            onDone={clear}
          />
        </Suspense>
      )}
    </div>
  )
}
