import { useCallback, useEffect, useMemo, useState } from 'react'

/** Selected runs: some of them by ID, or all that match the filter but for some. */
export type Selection = {
  isAll: boolean
  /** The selected runs, or, if all are, those that are left out. */
  ids: ReadonlySet<string>
  has: (id: string) => boolean
  toggle: (id: string) => void
  selectAll: () => void
  clear: () => void
}

/** A selection that is empty again when the list, named by `list`, becomes another one. */
export function useSelection(list: string): Selection {
  const [isAll, setAll] = useState(false)
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set())
  const clear = useCallback(() => {
    setAll(false)
    setIds(new Set())
  }, [])
  const selectAll = useCallback(() => {
    setAll(true)
    setIds(new Set())
  }, [])
  const toggle = useCallback((id: string) => {
    setIds((old) => {
      const next = new Set(old)
      if (!next.delete(id)) next.add(id)
      return next
    })
  }, [])
  useEffect(clear, [list, clear])
  return useMemo(
    () => ({ isAll, ids, has: (id) => ids.has(id) !== isAll, toggle, selectAll, clear }),
    [isAll, ids, toggle, selectAll, clear],
  )
}
