import { useRef, type KeyboardEvent } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { inboxList_requests$key } from '../__generated__/inboxList_requests.graphql'
import { words } from '../shared/status'
import { Time } from '../shared/time'

const FRAGMENT = graphql`
  fragment inboxList_requests on InputRequest
  @relay(plural: true)
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    status
    stepName
    title @include(if: $payloads)
    assignee
    createdAt
    expiresAt
    answeredAt
    answeredBy {
      name
    }
    flow {
      name
    }
  }
`

const STEPS: Record<string, number> = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }

type Props = { requests: inboxList_requests$key; selected: string | undefined; isFiltered: boolean }

/** The questions, to choose one with the keyboard or the mouse. */
export function InboxList({ requests: key, selected, isFiltered }: Props) {
  const requests = useFragment(FRAGMENT, key)
  const list = useRef<HTMLUListElement>(null)
  const move = (event: KeyboardEvent) => {
    const step = STEPS[event.key]
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return
    const links = [...(list.current?.querySelectorAll('a') ?? [])]
    const at = links.indexOf(document.activeElement as HTMLAnchorElement)
    links[at + step]?.focus()
    event.preventDefault()
  }
  if (!requests.length)
    return (
      <div className="empty">
        <strong>{isFiltered ? 'No question matches these filters' : 'No run waits for an answer'}</strong>
        <span>
          {isFiltered
            ? 'Remove a filter to see more.'
            : 'A step of the kind humanInput asks a question. It appears here as soon as a run comes to it.'}
        </span>
      </div>
    )
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the keys of the links in it
    <ul ref={list} onKeyDown={move} aria-label="Questions">
      {requests.map((request) => (
        <li key={request.id}>
          <Link
            from="/inbox"
            to="/inbox"
            search={(old) => ({ ...old, request: request.id })}
            className="inbox-row"
            aria-current={request.id === selected ? 'true' : undefined}
          >
            <span className="line">
              <b className="cut grow">{request.title ?? request.stepName}</b>
              {request.status !== 'PENDING' && <span className="tag">{words(request.status)}</span>}
            </span>
            <span className="line dim">
              <span>{request.flow.name}</span>
              {request.assignee && <span>for {request.assignee}</span>}
              <span>
                asked <Time at={request.createdAt} />
              </span>
              {request.status === 'PENDING' && request.expiresAt && (
                <span>
                  expires <Time at={request.expiresAt} />
                </span>
              )}
              {request.answeredAt && (
                <span>
                  answered by {request.answeredBy?.name ?? 'a person without a name'} <Time at={request.answeredAt} />
                </span>
              )}
            </span>
          </Link>
        </li>
      ))}
    </ul>
  )
}
