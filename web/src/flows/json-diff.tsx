import { useEffect, useRef } from 'react'
import { useComputedColorScheme } from '@mantine/core'
import { monaco } from './monaco'
import './editor.css'

/** What changed from one JSON text to another. */
export default function JsonDiff({ before, after }: { before: string; after: string }) {
  const place = useRef<HTMLDivElement>(null)
  const scheme = useComputedColorScheme('light')
  useEffect(() => {
    const original = monaco.editor.createModel(before, 'json')
    const modified = monaco.editor.createModel(after, 'json')
    const editor = monaco.editor.createDiffEditor(place.current!, {
      readOnly: true,
      automaticLayout: true,
      scrollBeyondLastLine: false,
      // Sticky lines throw `Illegal value for lineNumber` when the text becomes shorter.
      stickyScroll: { enabled: false },
      hideUnchangedRegions: { enabled: true },
      theme: scheme === 'dark' ? 'vs-dark' : 'vs',
    })
    editor.setModel({ original, modified })
    return () => {
      editor.dispose()
      original.dispose()
      modified.dispose()
    }
  }, [before, after, scheme])
  return <div className="editor" ref={place} />
}
