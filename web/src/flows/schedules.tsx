import { useState, type SubmitEvent } from 'react'
import { Button, Switch, TextInput } from '@mantine/core'
import '@mantine/core/styles/Switch.layer.css'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { schedules_flow$data, schedules_flow$key } from '../__generated__/schedules_flow.graphql'
import { words } from '../shared/status'
import { Time, TIME_ZONE } from '../shared/time'
import { useMayAdminister } from '../shared/viewer'
import { cronInWords } from './cron-in-words'
import { addSchedule, enableSchedule, removeSchedule } from './schedule-requests'

const FRAGMENT = graphql`
  fragment schedules_flow on Flow {
    id
    schedules {
      id
      name
      enabled
      cron
      timeZone
      nextFires(count: 3)
      lastFiredAt
      lastSkippedAt
      lastSkippedReason
    }
  }
`

type Schedule = schedules_flow$data['schedules'][number]

export function Schedules({ flow: key }: { flow: schedules_flow$key }) {
  const flow = useFragment(FRAGMENT, key)
  const [error, setError] = useState('')
  const mayAdminister = useMayAdminister()
  const attempt = (work: Promise<unknown>) => {
    setError('')
    return work.catch((reason: Error) => setError(reason.message))
  }
  return (
    <section className="panel" aria-label="Schedules">
      {error && (
        <p role="alert" className="danger" style={{ padding: '0 12px' }}>
          {error}
        </p>
      )}
      {flow.schedules.length ? (
        <div className="scroll-x">
          <table className="plain">
            <thead>
              <tr>
                <th>Schedule</th>
                <th>Next fire times</th>
                <th>Last</th>
                <th>Enabled</th>
                <th>What next</th>
              </tr>
            </thead>
            <tbody>
              {flow.schedules.map((schedule) => (
                <Row key={schedule.id} schedule={schedule} flowId={flow.id} attempt={attempt} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>No schedule starts this flow</strong>
        </div>
      )}
      {mayAdminister && <NewSchedule flowId={flow.id} attempt={attempt} />}
    </section>
  )
}

type Attempt = (work: Promise<unknown>) => Promise<unknown>

function Row({ schedule, flowId, attempt }: { schedule: Schedule; flowId: string; attempt: Attempt }) {
  const environment = useRelayEnvironment()
  const mayAdminister = useMayAdminister()
  return (
    <tr>
      <td>
        <b>{schedule.name ?? cronInWords(schedule.cron)}</b>
        <div className="dim">
          {schedule.name && `${cronInWords(schedule.cron)}, `}
          <code className="mono">{schedule.cron}</code> {schedule.timeZone}
        </div>
      </td>
      <td className="nowrap">
        {schedule.enabled
          ? schedule.nextFires.map((at) => (
              <div key={at}>
                <Time at={at} format="full" />
              </div>
            ))
          : '–'}
      </td>
      <td className="dim">
        {schedule.lastFiredAt && <Time at={schedule.lastFiredAt} />}
        {schedule.lastSkippedAt && (
          <div>
            skipped <Time at={schedule.lastSkippedAt} />: {words(schedule.lastSkippedReason ?? '').toLowerCase()}
          </div>
        )}
      </td>
      <td>
        <Switch
          aria-label={`Enabled: ${schedule.name ?? schedule.cron}`}
          checked={schedule.enabled}
          disabled={!mayAdminister}
          onChange={(event) => void attempt(enableSchedule(environment, schedule.id, event.currentTarget.checked))}
        />
      </td>
      <td className="nowrap">
        <Link to="/" search={{ scheduleIds: [schedule.id] }}>
          Runs
        </Link>{' '}
        {mayAdminister && (
          <Button
            variant="subtle"
            size="compact-xs"
            color="red"
            onClick={() => void attempt(removeSchedule(environment, flowId, schedule.id))}
          >
            Delete
          </Button>
        )}
      </td>
    </tr>
  )
}

function NewSchedule({ flowId, attempt }: { flowId: string; attempt: Attempt }) {
  const environment = useRelayEnvironment()
  const [cron, setCron] = useState('')
  const [timeZone, setTimeZone] = useState(TIME_ZONE)
  const [input, setInput] = useState('{}')
  const add = (event: SubmitEvent) => {
    event.preventDefault()
    void attempt(addSchedule(environment, flowId, { cron, timeZone, input }).then(() => setCron('')))
  }
  return (
    <form className="body line" onSubmit={add} style={{ alignItems: 'flex-end', borderTop: '1px solid var(--line)' }}>
      <TextInput
        label="Cron expression"
        placeholder="0 6 * * 1-5"
        value={cron}
        onChange={(event) => setCron(event.currentTarget.value)}
        required
      />
      <TextInput
        label="Time zone"
        value={timeZone}
        onChange={(event) => setTimeZone(event.currentTarget.value)}
        required
      />
      <TextInput
        label="Input as JSON"
        value={input}
        onChange={(event) => setInput(event.currentTarget.value)}
        required
      />
      <Button type="submit">Add a schedule</Button>
      <span className="dim">{cron && cronInWords(cron)}</span>
    </form>
  )
}
