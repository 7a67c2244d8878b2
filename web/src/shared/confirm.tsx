import type { ReactNode } from 'react'
import { Button, Modal } from '@mantine/core'
import './modal.css'
import { Failure, useAttempt } from './attempt'

type Props = {
  /** What is asked, as a question. */
  title: string
  /** What would happen. */
  children: ReactNode
  /** What the button says that does it. */
  action: string
  /** False for what can be undone. */
  isDestructive?: boolean
  onConfirm: () => Promise<unknown>
  onClose: () => void
}

/** Asks before something is done, and says what would happen. It stays open if that fails, with the reason. */
export function Confirm({ title, children, action, isDestructive = true, onConfirm, onClose }: Props) {
  const { error, isBusy, attempt } = useAttempt()
  const confirm = async () => {
    const done = await attempt(async () => {
      await onConfirm()
      return true
    })
    if (done) onClose()
  }
  return (
    <Modal opened onClose={onClose} title={title}>
      <div className="stack">
        {children}
        <Failure error={error} />
        <div className="line">
          <Button color={isDestructive ? 'red' : undefined} loading={isBusy} onClick={() => void confirm()}>
            {action}
          </Button>
          <Button variant="default" onClick={onClose}>
            Close
          </Button>
        </div>
      </div>
    </Modal>
  )
}
