import { Select } from '@mantine/core'
import type { Order } from '../shared/filter'

const ORDERS: { value: Order; label: string }[] = [
  { value: 'NEWEST', label: 'Newest first' },
  { value: 'LAST_CHANGED', label: 'Last changed first' },
  { value: 'LONGEST', label: 'Longest first' },
  { value: 'OLDEST', label: 'Oldest first' },
]

type Props = { order: Order | undefined; onChange: (order: Order | undefined) => void }

export function OrderSelect({ order = 'NEWEST', onChange }: Props) {
  return (
    <Select
      aria-label="Order"
      data={ORDERS}
      value={order}
      onChange={(value) => onChange(value === 'NEWEST' ? undefined : (value as Order))}
      allowDeselect={false}
      w={150}
    />
  )
}
