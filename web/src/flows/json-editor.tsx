import { useEffect, useRef } from 'react'
import { useComputedColorScheme } from '@mantine/core'
import { DEFINITION_PATH, monaco } from './monaco'
import './editor.css'

type Props = { text: string; onChange: (text: string) => void; isReadOnly: boolean; label: string }

export default function JsonEditor({ text, onChange, isReadOnly, label }: Props) {
  const place = useRef<HTMLDivElement>(null)
  const scheme = useComputedColorScheme('light')
  const latest = useRef({ text, onChange })
  latest.current = { text, onChange }
  useEffect(() => {
    const model = monaco.editor.createModel(latest.current.text, 'json', monaco.Uri.file(DEFINITION_PATH))
    const editor = monaco.editor.create(place.current!, {
      model,
      readOnly: isReadOnly,
      ariaLabel: label,
      automaticLayout: true,
      minimap: { enabled: false },
      scrollBeyondLastLine: false,
      // Sticky lines throw `Illegal value for lineNumber` when the text becomes shorter.
      stickyScroll: { enabled: false },
      fontSize: 13,
      theme: scheme === 'dark' ? 'vs-dark' : 'vs',
    })
    const changed = model.onDidChangeContent(() => latest.current.onChange(model.getValue()))
    return () => {
      changed.dispose()
      editor.dispose()
      model.dispose()
    }
  }, [isReadOnly, label, scheme])
  return <div className="editor" ref={place} />
}
