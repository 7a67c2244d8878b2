import { fullTime } from '../shared/time'

type Series = readonly { readonly start: string; readonly count: number }[]

const WIDTH = 120
const HEIGHT = 26
const LEAST_HEIGHT = 1.5

/** Small bars: how many runs failed in each span of time. */
export function Sparkline({ series }: { series: Series }) {
  const highest = Math.max(1, ...series.map(({ count }) => count))
  const width = WIDTH / Math.max(1, series.length)
  const peak = series.find(({ count }) => count === highest)
  const said = peak ? `, most at ${fullTime(peak.start)}: ${peak.count.toLocaleString()}` : ''
  return (
    <svg
      className="sparkline"
      role="img"
      aria-label={`Failures by time${said}`}
      width={WIDTH}
      height={HEIGHT}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
    >
      <path d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} className="sparkline-axis" />
      <path d={series.map(({ count }, at) => bar(at * width, width, count / highest)).join('')} />
    </svg>
  )
}

function bar(left: number, width: number, share: number): string {
  if (!share) return ''
  const height = Math.max(LEAST_HEIGHT, share * HEIGHT)
  return `M${left} ${HEIGHT}v${-height}h${width * 0.86}v${height}z`
}
