import cronstrue from 'cronstrue'

/** A cron expression in words; the expression itself if it cannot be read. */
export function cronInWords(cron: string): string {
  return cronstrue.toString(cron, { throwExceptionOnParseError: false, use24HourTimeFormat: true, verbose: false })
}
