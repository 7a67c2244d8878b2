import { Select } from '@mantine/core'
import { ORDERS, orderNamed, orderOf, type Order } from '../shared/order'

const CHOICES = Object.entries(ORDERS).map(([value, { label }]) => ({ value, label }))

type Props = { order: Order | undefined; onChange: (order: Order | undefined) => void }

export function OrderSelect({ order = 'NEWEST', onChange }: Props) {
  return (
    <Select
      aria-label="Order"
      data={CHOICES}
      value={order}
      onChange={(value) => onChange(orderNamed(orderOf(value as Order)))}
      allowDeselect={false}
      w={160}
    />
  )
}
