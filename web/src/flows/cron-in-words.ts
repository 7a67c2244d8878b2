import cronstrue from 'cronstrue'

/** A cron expression in words; the expression itself if it cannot be read. */
export function cronInWords(cron: string): string {
  try {
    return cronstrue.toString(cron, { use24HourTimeFormat: true })
  } catch {
    return cron
  }
}
