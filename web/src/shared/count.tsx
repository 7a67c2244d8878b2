type Props = {
  /** The number, as `totalCount(limit:)` has it. */
  count: number
  /** Where counting stopped. */
  limit: number
  /** How many of them are shown, if not all. */
  shown?: number
  one: string
  many: string
}

/** How many things a list has, and whether that is exact. */
export function Count({ count, limit, shown, one, many }: Props) {
  const isExact = count < limit
  const total = `${count.toLocaleString()}${isExact ? '' : ' or more'}`
  const text = shown !== undefined && shown < count ? `${shown.toLocaleString()} of ${total}` : total
  return (
    <span className="dim" title={isExact ? 'Counted exactly' : `Counting stops at ${limit.toLocaleString()}`}>
      {text} {count === 1 ? one : many}
    </span>
  )
}

export function steps(count: number): string {
  return count === 1 ? '1 step' : `${count} steps`
}
