import { useState } from 'react'
import { Button, Modal, TagsInput, Textarea } from '@mantine/core'
import '../shared/modal.css'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { editDialog_run$key } from '../__generated__/editDialog_run.graphql'
import type { editDialogMutation } from '../__generated__/editDialogMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { mutate, refused } from '../shared/mutate'

const FRAGMENT = graphql`
  fragment editDialog_run on FlowRun {
    id
    tags
    metadata
    note
  }
`

const UPDATE = graphql`
  mutation editDialogMutation($runId: ID!, $tags: [String!], $metadata: JSON, $note: String) {
    updateRun(runId: $runId, tags: $tags, metadata: $metadata, note: $note) {
      ... on UpdateRunSuccess {
        run {
          id
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

type Props = { run: editDialog_run$key; onClose: () => void }

/** Changes the tags, the metadata and the note of a run. What is not changed is not sent. */
export default function EditDialog({ run: key, onClose }: Props) {
  const run = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const metadataText = JSON.stringify(run.metadata, null, 2)
  const [tags, setTags] = useState([...run.tags])
  const [metadata, setMetadata] = useState(metadataText)
  const [note, setNote] = useState(run.note ?? '')
  const save = async () => {
    const done = await attempt(async () => {
      const variables: editDialogMutation['variables'] = { runId: run.id }
      if (tags.join('\n') !== run.tags.join('\n')) variables.tags = tags
      if (metadata !== metadataText) variables.metadata = JSON.parse(metadata) as unknown
      if (note !== (run.note ?? '')) variables.note = note || null
      const { updateRun } = await mutate<editDialogMutation>(environment, UPDATE, variables)
      return updateRun.run ?? refused(updateRun)
    })
    if (done) onClose()
  }
  return (
    <Modal opened onClose={onClose} title="Tags, metadata and note" size="lg">
      <div className="stack">
        <TagsInput label="Tags" value={tags} onChange={setTags} comboboxProps={{ withinPortal: false }} />
        <Textarea
          label="Metadata as JSON"
          description="Steps that have begun keep using the metadata of their start."
          rows={6}
          classNames={{ input: 'mono' }}
          value={metadata}
          onChange={({ currentTarget: { value } }) => setMetadata(value)}
        />
        <Textarea
          label="Note"
          description="For people who look at the run later."
          rows={3}
          maxLength={2_000}
          value={note}
          onChange={({ currentTarget: { value } }) => setNote(value)}
        />
        <Failure error={error} />
        <div className="line">
          <Button loading={isBusy} onClick={() => void save()}>
            Save
          </Button>
          <Button variant="default" onClick={onClose}>
            Close
          </Button>
        </div>
      </div>
    </Modal>
  )
}
