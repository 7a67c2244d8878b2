import { useState, type SubmitEvent } from 'react'
import { Alert, Button, Checkbox, Modal, TextInput } from '@mantine/core'
import '@mantine/core/styles/Alert.layer.css'
import '../shared/modal.css'
import { useNavigate } from '@tanstack/react-router'
import { useRelayEnvironment } from 'react-relay/hooks'
import { filterOf, type RunsSearch } from '../shared/filter'
import { orderOf } from '../shared/order'
import type { ProjectName } from '../shared/projects'
import { createView, deleteView, updateView } from './view-changes'
import type { SavedView } from './view-requests'

export type Dialog = { kind: 'CREATE' } | { kind: 'REPLACE' | 'EDIT' | 'DELETE'; view: SavedView }

type Props = {
  dialog: Dialog
  project: ProjectName
  search: RunsSearch
  onClose: () => void
  onDone: () => void
}

const TITLES = {
  CREATE: 'Save the filter as a view',
  REPLACE: 'Replace the filter of the view?',
  EDIT: 'Rename or share the view',
  DELETE: 'Delete the view?',
}
const VERBS = { CREATE: 'Save', REPLACE: 'Replace', EDIT: 'Save', DELETE: 'Delete' }

/** Changes a saved view. What others see is not replaced or deleted without a question. */
export default function ViewDialog({ dialog, project, search, onClose, onDone }: Props) {
  const { kind } = dialog
  const view = kind === 'CREATE' ? null : dialog.view
  const [name, setName] = useState(view?.name ?? '')
  const [isShared, setShared] = useState(view?.isShared ?? false)
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  const environment = useRelayEnvironment()
  const navigate = useNavigate()
  const list = { filter: filterOf(search), orderBy: orderOf(search.orderBy) }

  const change = async () => {
    if (kind === 'CREATE') {
      const id = await createView(environment, { projectId: project.id, name: name.trim(), shared: isShared, ...list })
      await navigate({ to: '/', search: { ...search, view: id } })
    } else if (kind === 'REPLACE') await updateView(environment, { id: dialog.view.id, ...list })
    else if (kind === 'EDIT')
      await updateView(environment, { id: dialog.view.id, name: name.trim(), shared: isShared })
    else {
      await deleteView(environment, dialog.view.id)
      await navigate({ to: '/', search: { ...search, view: undefined } })
    }
  }
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    setBusy(true)
    setError('')
    try {
      await change()
      onDone()
    } catch (reason) {
      setError((reason as Error).message)
      setBusy(false)
    }
  }
  return (
    <Modal opened onClose={onClose} title={TITLES[kind]}>
      <form className="stack" onSubmit={(event) => void submit(event)}>
        {kind === 'CREATE' || kind === 'EDIT' ? (
          <>
            <TextInput
              label="Name of the view"
              value={name}
              onChange={(event) => setName(event.currentTarget.value)}
              maxLength={200}
              required
              withAsterisk={false}
              data-autofocus
            />
            <Checkbox
              label={`Shared: everybody in ${project.name} sees the view, and operators change it`}
              checked={isShared}
              onChange={(event) => setShared(event.currentTarget.checked)}
            />
          </>
        ) : (
          <p className="view-question">
            <b>{view?.name}</b> is {view?.isShared ? `a view that everybody in ${project.name} sees` : 'your own view'}.{' '}
            {kind === 'DELETE' ? 'No run is deleted.' : 'It gets the present filter and order.'}
          </p>
        )}
        {error && (
          <Alert color="red" variant="outline" role="alert">
            {error}
          </Alert>
        )}
        <div className="line">
          <Button type="submit" loading={isBusy} color={kind === 'DELETE' ? 'red' : undefined}>
            {VERBS[kind]}
          </Button>
          <Button variant="default" onClick={onClose}>
            Close
          </Button>
        </div>
      </form>
    </Modal>
  )
}
