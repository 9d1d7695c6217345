// The script of the board's page. `npm run page` makes `../internal/page.ts` of it.
// @effect-diagnostics asyncFunction:off globalDate:off globalTimers:off
import { eventStream } from "../../browser/internal/eventStream.js"
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
let connection = new AbortController()

const showConnection = (isLive: boolean): void => {
  if (isLive !== isConnected) say(isLive ? "Connected" : "The connection is lost")
  isConnected = isLive
  const shown = byId("connection")
  write(shown, isLive ? "Live" : "No connection; trying again")
  shown.className = isLive ? "" : "lost"
}

/** The jobs that the user has added: in the address, so that a bookmark has them. */
const added = (): Array<string> => new URLSearchParams(location.hash.slice(1)).getAll("job")

const queryOf = (jobs: ReadonlyArray<string>): string => String(new URLSearchParams(jobs.map((job) => ["job", job])))

/** The events of the server that sent this page. */
type Event =
  | { readonly name: "jobs"; readonly data: ReadonlyArray<Job> }
  | { readonly name: "removed"; readonly data: ReadonlyArray<string> }
  | { readonly name: "refused"; readonly data: { readonly job: string; readonly message: string } }
  | { readonly name: "clock"; readonly data: { readonly now: number; readonly hidden: number } }

const follow = async (signal: AbortSignal): Promise<void> => {
  const received = new Set<string>()
  let isComplete = false
  const notices = eventStream({
    url: `events?${queryOf(added())}`,
    from: undefined,
    token: () => undefined,
    signal,
    maxSilence: 30_000,
    toError: () => undefined
  })
  for await (const notice of notices) {
    if (notice._tag === "Disconnected") showConnection(false)
    if (notice._tag === "Connected") {
      received.clear()
      isComplete = false
    }
    if (notice._tag !== "Event") continue
    const event = notice as unknown as Event
    switch (event.name) {
      case "jobs":
        for (const job of event.data) {
          received.add(job.job)
          receive(job)
        }
        break
      case "removed":
        event.data.forEach(remove)
        break
      case "refused": {
        const { job, message } = event.data
        write(byId("refused"), `${job}: ${message}`)
        location.replace(`#${queryOf(added().filter((name) => name !== job))}`)
        break
      }
      case "clock": {
        const { hidden, now } = event.data
        clock.ahead = now - Date.now()
        // after the server has restarted, it may know fewer jobs
        if (!isComplete) { for (const name of rows.keys()) if (!received.has(name)) remove(name) }
        isComplete = true
        showConnection(true)
        write(byId("hidden"), hidden === 0 ? "" : `${hidden} more jobs are watched, but not shown.`)
      }
    }
  }
}

const connect = (): void => {
  connection.abort()
  connection = new AbortController()
  follow(connection.signal).catch(() => {}) // it ends with the signal alone
}

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
  location.hash = queryOf([...added(), job])
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
