import { Suspense, useState } from 'react'
import { Button, Modal, Radio, Textarea, TextInput } from '@mantine/core'
import '../shared/modal.css'
import '@mantine/core/styles/Radio.layer.css'
import { useNavigate } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { completeDialogQuery } from '../__generated__/completeDialogQuery.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { consequence } from './start-choices'
import { completeStep } from './start-requests'

const QUERY = graphql`
  query completeDialogQuery($id: ID!) {
    flowRun(id: $id) {
      completability {
        stepName
        allowed
        reason
        message
        reusedStepNames
        rerunStepNames
      }
    }
  }
`

type Props = { runId: string; stepName: string; onClose: () => void }

/** Gives the result of the step at which a run ended by hand, so that a new run continues behind it. */
export default function CompleteDialog({ runId, stepName, onClose }: Props) {
  return (
    <Modal opened onClose={onClose} title={`Complete the step ${stepName}`} size="lg">
      <Suspense fallback={<p className="dim">Asking what would be executed…</p>}>
        <CompleteForm runId={runId} stepName={stepName} onClose={onClose} />
      </Suspense>
    </Modal>
  )
}

function CompleteForm({ runId, stepName, onClose }: Props) {
  const { flowRun } = useLazyLoadQuery<completeDialogQuery>(QUERY, { id: runId }, { fetchPolicy: 'network-only' })
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const { error, isBusy, attempt } = useAttempt()
  const [way, setWay] = useState('value')
  const [output, setOutput] = useState('{}')
  const [note, setNote] = useState('')
  const check = flowRun?.completability
  if (!check) return <p>The run was deleted.</p>
  const complete = async () => {
    const skip = way === 'skip'
    const newRunId = await attempt(async () =>
      completeStep(environment, runId, {
        stepName,
        output: skip ? null : (JSON.parse(output) as unknown),
        skip,
        note: note.trim() || null,
      }),
    )
    if (!newRunId) return
    onClose()
    await navigate({ to: '/runs/$runId', params: { runId: newRunId } })
  }
  return (
    <div className="stack">
      <p className="prose">
        A new run continues behind the step; this run stays as it is. {consequence(check)}
      </p>
      <Radio.Group label="The result of the step" value={way} onChange={setWay}>
        <div className="stack run-choices">
          <Radio value="value" label="It succeeded, with this output" />
          <Radio value="skip" label="It is skipped, as if its condition were false" />
        </div>
      </Radio.Group>
      {way === 'value' && (
        <Textarea
          label="Output as JSON"
          rows={5}
          classNames={{ input: 'mono' }}
          value={output}
          onChange={({ currentTarget: { value } }) => setOutput(value)}
        />
      )}
      <TextInput
        label="Why"
        placeholder="Paid by hand in the shop"
        maxLength={1_000}
        value={note}
        onChange={({ currentTarget: { value } }) => setNote(value)}
      />
      <Failure error={error} />
      <div className="line">
        <Button loading={isBusy} disabled={!check.allowed} onClick={() => void complete()}>
          Complete the step
        </Button>
        <Button variant="default" onClick={onClose}>
          Close
        </Button>
      </div>
    </div>
  )
}
