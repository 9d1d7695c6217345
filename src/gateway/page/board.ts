// The script of the board's page. `npm run page` makes `../internal/page.ts` of it.
// @effect-diagnostics globalDate:off globalTimers:off preferSchemaOverJson:off
import { clock, type Job } from "./job.js"
import { byId, countsOf, receive, remove, render, rows, write } from "./rows.js"

// no more frames than a reader can follow
setInterval(() => requestAnimationFrame(render), 250)

// -----------------------------------------------------------------------------
// the stream
// -----------------------------------------------------------------------------

const say = (text: string): void => write(byId("spoken"), text)

// a screen reader hears a summary, not each event
setInterval(() => isConnected && say(rows.size === 0 ? "" : countsOf(rows.values())), 10_000)

let isConnected = false
let source: EventSource | undefined
let lastEvent = 0

const lost = (): void => {
  if (isConnected || source?.readyState === EventSource.CLOSED) say("The connection is lost")
  isConnected = false
  const shown = byId("connection")
  write(shown, "No connection; trying again")
  shown.className = "lost"
}

/** The jobs that the user has added: in the address, so that a bookmark has them. */
const added = (): Array<string> => new URLSearchParams(location.hash.slice(1)).getAll("job")

const connect = (): void => {
  source?.close()
  const events = source = new EventSource(`events?${new URLSearchParams(added().map((job) => ["job", job]))}`)
  let received = new Set<string>()
  let isComplete = false
  const on = <A>(name: string, handle: (data: A) => void): void =>
    events.addEventListener(name, (event) => {
      lastEvent = Date.now()
      handle(JSON.parse(event.data) as A) // of the server that sent this page
    })
  events.onopen = () => {
    received = new Set()
    isComplete = false
    lastEvent = Date.now()
  }
  events.onerror = lost
  on<ReadonlyArray<Job>>("jobs", (jobs) => {
    for (const job of jobs) {
      received.add(job.job)
      receive(job)
    }
  })
  on<ReadonlyArray<string>>("removed", (jobs) => jobs.forEach(remove))
  on<{ readonly job: string; readonly message: string }>("refused", ({ job, message }) => {
    write(byId("refused"), `${job}: ${message}`)
    location.replace(`#${new URLSearchParams(added().filter((name) => name !== job).map((name) => ["job", name]))}`)
  })
  on<{ readonly now: number; readonly hidden: number }>("clock", ({ hidden, now }) => {
    clock.ahead = now - Date.now()
    // after the server has restarted, it may know fewer jobs
    if (!isComplete) { for (const name of rows.keys()) if (!received.has(name)) remove(name) }
    isComplete = true
    if (!isConnected) say("Connected")
    isConnected = true
    const shown = byId("connection")
    write(shown, "Live")
    shown.className = ""
    write(byId("hidden"), hidden === 0 ? "" : `${hidden} more jobs are watched, but not shown.`)
  })
}

// an `EventSource` does not connect again after an error response, and waits for ever on a connection that is dead
setInterval(() => {
  const isDead = source?.readyState === EventSource.CLOSED ||
    (source?.readyState === EventSource.OPEN && Date.now() - lastEvent > 30_000)
  if (!isDead) return
  lost()
  connect()
}, 5_000)

// -----------------------------------------------------------------------------
// the user
// -----------------------------------------------------------------------------

byId("add").addEventListener("submit", (event) => {
  event.preventDefault()
  const input = byId("name") as HTMLInputElement // see index.html
  const job = input.value.trim()
  write(byId("refused"), "")
  if (job === "" || added().includes(job)) return
  input.value = ""
  location.hash = new URLSearchParams([...added(), job].map((name) => ["job", name])).toString()
})

addEventListener("hashchange", connect)

// the arrow keys move between jobs, as Tab does between everything
byId("models").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  if (step === undefined || !(event.target instanceof HTMLButtonElement)) return
  const buttons = Array.from(document.querySelectorAll<HTMLButtonElement>("tbody th button"))
  buttons[buttons.indexOf(event.target) + step]?.focus()
  event.preventDefault()
})

connect()
