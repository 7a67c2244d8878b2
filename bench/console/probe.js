// Notes what a person would see: when the row of each run was painted, how long frames took, and what held the page up.
const seen = {}
const probe = { seen, frames: [], longTasks: [], firstRow: null, isOn: false }
window.probe = probe

const RUN = /\/runs\/(run_[^/?#]+)/
const painted = (work) =>
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = work
    port2.postMessage(null)
  })

const look = () => {
  const fresh = []
  for (const link of document.querySelectorAll('[role=table] a[href*="/runs/run_"]')) {
    const id = RUN.exec(link.getAttribute('href'))[1]
    if (id in seen) continue
    seen[id] = null
    fresh.push(id)
  }
  if (!fresh.length) return
  painted(() => {
    const now = Date.now()
    probe.firstRow ??= performance.now()
    for (const id of fresh) seen[id] = now
  })
}
document.addEventListener('DOMContentLoaded', () =>
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['href'] }),
)

new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) probe.longTasks.push({ startTime, duration })
}).observe({ type: 'longtask', buffered: true })

let last
const frame = (now) => {
  if (probe.isOn && last !== undefined) probe.frames.push(now - last)
  last = now
  requestAnimationFrame(frame)
}
requestAnimationFrame(frame)

probe.start = () => {
  probe.frames = []
  probe.longTasks = []
  probe.isOn = true
}
probe.stop = () => {
  probe.isOn = false
  const durations = probe.longTasks.map(({ duration }) => duration)
  return { frames: probe.frames, longTasks: durations }
}

/** Scrolls through all loaded rows and back, a screen for each frame. */
probe.scroll = (element) =>
  new Promise((resolve) => {
    let step = element.clientHeight
    const move = () => {
      const before = element.scrollTop
      element.scrollTop += step
      if (element.scrollTop === before) {
        if (step < 0) return resolve()
        step = -step
      }
      // Not to the very start, where the list lets rows go.
      if (step < 0 && element.scrollTop < 4 * element.clientHeight) return resolve()
      requestAnimationFrame(move)
    }
    move()
  })
