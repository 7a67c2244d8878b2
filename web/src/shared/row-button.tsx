import { Button } from '@mantine/core'

type Props = { label: string; of: string; onClick: () => void }

/** A button in a row of a table; screen readers also hear the name of what it acts on. */
export function RowButton({ label, of, onClick }: Props) {
  return (
    <Button variant="default" size="compact-xs" aria-label={`${label} ${of}`} onClick={onClick}>
      {label}
    </Button>
  )
}
