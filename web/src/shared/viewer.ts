import { createContext, use } from 'react'
import type { Viewer } from './session'

export const ViewerContext = createContext<Viewer | null>(null)

export function useViewer(): Viewer {
  return use(ViewerContext)!
}

/** Whether the key may run flows: start, retry, cancel, archive, answer. */
export function useMayOperate(): boolean {
  return useViewer().role !== 'VIEWER'
}

/** Whether the key may change flows, schedules and webhooks. */
export function useMayAdminister(): boolean {
  return useViewer().role === 'ADMIN'
}
