import { useEffect, useRef } from 'react'
import { useComputedColorScheme } from '@mantine/core'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import type { RunsSearch } from '../shared/filter'
import { STATUSES, words, type FlowRunStatus } from '../shared/status'

type Bucket = {
  readonly start: string
  readonly end: string
  readonly byStatus: readonly { readonly status: FlowRunStatus; readonly count: number }[]
}
type Props = {
  buckets: readonly Bucket[]
  statuses: readonly FlowRunStatus[]
  onRange: (changes: RunsSearch) => void
}

const HEIGHT = 104
/** A shorter brush is a click. */
const LEAST_BRUSH_PX = 6

/** Runs by the time of their creation, one bar for each bucket, stacked by status. Brushing a range filters by it. */
export default function Histogram({ buckets, statuses, onRange }: Props) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const scheme = useComputedColorScheme('light')
  const shown = STATUSES.filter((status) => statuses.includes(status))
  const shownKey = shown.join()
  const latest = useRef({ buckets, onRange })
  latest.current = { buckets, onRange }

  useEffect(() => {
    const element = place.current!
    const created = createPlot(element, shownKey.split(',') as FlowRunStatus[], (from, to) => {
      const { buckets: bars, onRange: choose } = latest.current
      const first = bars.find((bar) => Date.parse(bar.end) > from)
      const last = bars.findLast((bar) => Date.parse(bar.start) < to)
      if (first && last) choose({ createdWithin: undefined, createdAfter: first.start, createdBefore: last.end })
    })
    plot.current = created
    created.setData(stacked(latest.current.buckets, shownKey.split(',') as FlowRunStatus[]))
    const resized = new ResizeObserver(() => created.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    return () => {
      resized.disconnect()
      created.destroy()
    }
  }, [shownKey, scheme])

  useEffect(() => {
    plot.current?.setData(stacked(buckets, shownKey.split(',') as FlowRunStatus[]))
  }, [buckets, shownKey])

  return <div ref={place} className="histogram-plot" role="img" aria-label={summary(buckets, shown)} />
}

/** One row of numbers for each status, each on top of those below it; the highest is drawn first. */
function stacked(buckets: readonly Bucket[], statuses: FlowRunStatus[]): uPlot.AlignedData {
  const times = buckets.map(({ start, end }) => (Date.parse(start) + Date.parse(end)) / 2000)
  const below = buckets.map(() => 0)
  const rows = statuses.map((status) =>
    buckets.map((bucket, at) => (below[at]! += bucket.byStatus.find((other) => other.status === status)?.count ?? 0)),
  )
  return [times, ...rows.toReversed()]
}

function createPlot(element: HTMLElement, statuses: FlowRunStatus[], onBrush: (from: number, to: number) => void) {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(name).trim()
  const axis = {
    stroke: colour('--dim'),
    font: '11px system-ui, sans-serif',
    ticks: { show: false },
    grid: { stroke: colour('--line'), width: 1 },
  }
  return new uPlot(
    {
      width: element.clientWidth,
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
      scales: { y: { range: (_, __, max) => [0, Math.max(4, max * 1.05)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 22, values: tickLabels },
        { ...axis, size: 44, splits: (_, __, ___, max) => [0, Math.ceil(max / 2), Math.floor(max)], values: whole },
      ],
      series: [
        {},
        ...statuses.toReversed().map((status) => ({
          fill: colour(`--status-${status.toLowerCase().replaceAll('_', '-')}`),
          width: 0,
          points: { show: false },
          paths: uPlot.paths.bars!({ size: [0.86, 60], gap: 0 }),
        })),
      ],
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select
            if (width < LEAST_BRUSH_PX) return
            onBrush(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000)
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
          },
        ],
      },
    },
    [[]],
    element,
  )
}

const hour = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' })
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })

/** The clock as the viewer's language writes it; at midnight, the day that begins. */
function tickLabels(_: uPlot, splits: number[]): string[] {
  return splits.map((seconds) => {
    const at = new Date(seconds * 1000)
    return (at.getHours() || at.getMinutes() ? hour : day).format(at)
  })
}

const compact = new Intl.NumberFormat(undefined, { notation: 'compact' })

function whole(_: uPlot, splits: number[]): string[] {
  return splits.map((value) => compact.format(value))
}

function summary(buckets: readonly Bucket[], statuses: FlowRunStatus[]): string {
  const counts = statuses.map((status) => ({
    status,
    count: buckets.reduce((sum, { byStatus }) => sum + (byStatus.find((it) => it.status === status)?.count ?? 0), 0),
  }))
  const said = counts.filter(({ count }) => count).map(({ status, count }) => `${count} ${words(status).toLowerCase()}`)
  return `Runs by the time of their creation: ${said.join(', ') || 'none'}`
}
