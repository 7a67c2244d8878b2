import { useEffect, useMemo, useRef, useState } from 'react'
import { SegmentedControl, TextInput } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { fetchQuery, graphql, useRelayEnvironment } from 'react-relay/hooks'
import type { logsQuery } from '../__generated__/logsQuery.graphql'
import { isLive } from '../shared/status'
import { Time } from '../shared/time'
import type { LogLine } from './use-live-run'
import { BASE_PATH } from '../shared/base-path'

const QUERY = graphql`
  query logsQuery($id: ID!, $last: Int!, $stepName: String, $level: LogLevel, $search: String) {
    flowRun(id: $id) {
      logs(last: $last, stepName: $stepName, level: $level, search: $search) {
        totalCount
        nodes {
          number
          at
          level
          stepName
          message
        }
      }
    }
  }
`

const SHOWN_LINES = 500
const LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const
type Level = (typeof LEVELS)[number]
type Props = { runId: string; status: string; appended: LogLine[] }

/** The log of a run, of one step if one is selected, from a level on; new lines come by themselves. */
export function Logs({ runId, status, appended }: Props) {
  const search = useSearch({ from: '/runs/$runId' })
  const navigate = useNavigate({ from: '/runs/$runId' })
  const level = LEVELS.find((it) => it === search.level) ?? 'DEBUG'
  const { lines, total } = useLogLines(runId, search.step, level, search.search, appended)
  const end = useRef<HTMLDivElement>(null)
  const live = isLive(status)
  useEffect(() => {
    const place = end.current
    if (place && live) place.scrollTop = place.scrollHeight
  }, [lines, live])
  const change = (changes: { level?: string; search?: string }) =>
    void navigate({ search: (old) => ({ ...old, ...changes }), replace: true })
  return (
    <section className="panel" aria-label="Log">
      <header>
        <h2>Log</h2>
        <span className="dim">
          {total > lines.length && `last ${lines.length.toLocaleString()} of `}
          {total.toLocaleString()} {total === 1 ? 'line' : 'lines'}
          {search.step && ` of ${search.step}`}
        </span>
        <span className="grow" />
        <TextInput
          aria-label="Text in the log"
          placeholder="Text"
          defaultValue={search.search}
          onBlur={(event) => change({ search: event.currentTarget.value || undefined })}
          onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
          w={120}
        />
        <SegmentedControl
          aria-label="Level"
          value={level}
          onChange={(value) => change({ level: value === 'DEBUG' ? undefined : value })}
          data={LEVELS.map((value) => ({ value, label: value.toLowerCase() }))}
        />
        <a href={`${BASE_PATH}/runs/${runId}/log`}>As text</a>
      </header>
      <div className="log" ref={end} role="log" tabIndex={0} aria-label="Lines of the log">
        {lines.map((line) => (
          <div key={line.number} className="log-line" data-level={line.level}>
            <Time at={line.at} format="clock" />
            <span className="log-step wide-only">{line.stepName}</span>
            <span className="log-message">{line.message}</span>
          </div>
        ))}
        {!lines.length && <div className="dim">No lines.</div>}
      </div>
    </section>
  )
}

function useLogLines(
  runId: string,
  stepName: string | undefined,
  level: Level,
  text: string | undefined,
  appended: LogLine[],
): { lines: readonly LogLine[]; total: number } {
  const environment = useRelayEnvironment()
  const [read, setRead] = useState<{ lines: readonly LogLine[]; total: number }>({ lines: [], total: 0 })
  useEffect(() => {
    const variables = { id: runId, last: SHOWN_LINES, stepName, level, search: text }
    const request = fetchQuery<logsQuery>(environment, QUERY, variables).subscribe({
      next: ({ flowRun }) => setRead({ lines: flowRun?.logs.nodes ?? [], total: flowRun?.logs.totalCount ?? 0 }),
      error: () => {},
    })
    return () => request.unsubscribe()
  }, [environment, runId, stepName, level, text])
  return useMemo(() => {
    const last = read.lines.at(-1)?.number ?? 0
    const fresh = appended.filter(
      (line) =>
        line.number > last &&
        (!stepName || line.stepName === stepName) &&
        LEVELS.indexOf(line.level) >= LEVELS.indexOf(level) &&
        (!text || line.message.toLowerCase().includes(text.toLowerCase())),
    )
    return { lines: [...read.lines, ...fresh], total: read.total + fresh.length }
  }, [read, appended, stepName, level, text])
}
