import { expect, test } from 'vitest'
import { orderNamed, orderOf, ORDERS, type Order } from './order'

test('a list begins with the newest run unless the address says otherwise', () => {
  expect(orderOf()).toEqual({ field: 'CREATED_AT', direction: 'DESC' })
  expect(orderOf('NONSENSE' as Order)).toEqual(orderOf())
})

test.each(Object.keys(ORDERS) as Order[])('%s is named as it is read', (order) => {
  expect(orderNamed(orderOf(order)) ?? 'NEWEST').toBe(order)
})
