/** Where lists were left for one of their runs, so that going back leads there. */

export type Place = {
  /** Rows that the list had. */
  count: number
  /** The first row on the screen, and the pixels of it above the screen. */
  firstId: string
  above: number
  /** The row that was opened, counted from the first one on the screen. */
  opened: number
}

/** Runs that one request may have. */
const MOST_RUNS = 1_000
/** By the key of the entry in the browser's history. */
const places = new Map<string, Place>()

export function leaveAt(entry: string | undefined, place: Place) {
  if (entry) places.set(entry, { ...place, count: Math.min(place.count, MOST_RUNS) })
}

export function placeOf(entry: string | undefined): Place | undefined {
  return entry ? places.get(entry) : undefined
}
