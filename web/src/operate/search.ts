/** What the address of the operator pages holds: the tab, and what its list is filtered by. */
export type OperateSearch = {
  tab?: string
  /** How queues are grouped. */
  by?: string
  /** Deliveries to this endpoint. */
  endpoint?: string
  /** Deliveries with this status. */
  delivery?: string
  /** Audit events of this action. */
  action?: string
  /** Audit events about this object. */
  object?: string
}
