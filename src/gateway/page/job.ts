// What the page shows of a job.
// @effect-diagnostics globalDate:off

/** A transition. */
export interface Step {
  /** The tag of the transition. */
  readonly _tag: string
  /** When it happened, if the service reported that. */
  readonly at?: string
  /** The number of the last claim. */
  readonly attempt: number
  /** Whether a poll has seen it. */
  readonly evidence: "observed" | "inferred"
  /** When the poll was made. */
  readonly observedAt: string
  /** Of a `Progressed`: a fraction from 0 to 1. */
  readonly progress?: number
  /** Of a `FailedByModel`: why. */
  readonly reason?: string
  /** Of a `Requeued`: how many more there may be. */
  readonly retriesLeft?: number
  /** Of an `Unrecognized`: the state. */
  readonly status?: string
}

/** What the server sends of a job. */
export interface Job {
  /** The name of the job, `MODEL/REQUEST_ID`. */
  readonly job: string
  /** The model. */
  readonly model: string
  /** The request id. */
  readonly requestId: string
  /** The transitions, oldest first; of successive `Progressed` the last. */
  readonly steps: ReadonlyArray<Step>
  /** When the state began. */
  readonly since?: string
  /** The time in the queue before that, in milliseconds. */
  readonly inQueue: number
  /** Whether the service reported the times. */
  readonly exact: boolean
  /** When the job is expected to end. */
  readonly expectedEnd?: string
  /** That polls fail, and since when. */
  readonly trouble?: { readonly message: string; readonly since: string } | undefined
  /** Why a watch has given up. */
  readonly error?: string | undefined
  /** Whether any part of the server watches the job. */
  readonly isWatched: boolean
}

/** How far the clock of the server is ahead of ours, in milliseconds. */
export const clock = { ahead: 0 }

export const now = (): number => Date.now() + clock.ahead

const two = (n: number): string => String(n).padStart(2, "0")

/** A duration in its two largest units. */
const elapsed = (millis: number): string => {
  const s = Math.floor(Math.max(0, millis) / 1000)
  if (s < 60) return `${s} s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m} m ${two(s % 60)} s`
  const h = Math.floor(m / 60)
  return h < 24 ? `${h} h ${two(m % 60)} m` : `${Math.floor(h / 24)} d ${two(h % 24)} h`
}

export const precisely = (millis: number): string =>
  millis < 10_000 ? `${(millis / 1000).toFixed(1)} s` : elapsed(millis)

export const timeOf = (step: Step): number => Date.parse(step.at ?? step.observedAt)

export const words: { readonly [tag: string]: string } = {
  Queued: "○ queued",
  Requeued: "○ queued",
  Claimed: "▶ running",
  Progressed: "▶ running",
  Completed: "✓ done",
  FailedByModel: "✗ failed",
  RetriesExhausted: "✗ failed",
  Canceled: "– canceled",
  Unrecognized: "? unknown"
}

export const isEnd = ({ _tag }: Step): boolean => !["Queued", "Requeued", "Claimed", "Progressed"].includes(_tag)

const percent = (fraction: number): string => `${Math.floor(100 * fraction)} %`

export const describe = ({ _tag, attempt, progress, reason, retriesLeft, status }: Step): string => {
  switch (_tag) {
    case "Queued":
      return "Queued"
    case "Claimed":
      return `Claimed by a worker, attempt ${attempt}`
    case "Progressed":
      return progress === undefined ? "Progressed" : `Progressed to ${percent(progress)}`
    case "Requeued":
      return `Worker lost, back in the queue, retries left: ${retriesLeft}`
    case "Completed":
      return "Done"
    case "FailedByModel":
      return `Failed by the model${reason === undefined ? "" : `: ${reason}`}`
    case "RetriesExhausted":
      return "Failed: every attempt lost its worker"
    case "Canceled":
      return "Canceled"
    default:
      return `Unknown state ${status}`
  }
}

/** The cells of a row: their classes and titles. */
export const columns = [
  ["job", "Job"],
  ["state", "State"],
  ["attempt", "Attempt"],
  ["progress", "Progress"],
  ["age", "Age"],
  ["queue", "In queue"],
  ["left", "Left"]
] as const

/** What is written of a job: the texts of its cells, and what is wrong. */
export type Fact = (typeof columns)[number][0] | "trouble" | "why"

export type Facts = { readonly [fact in Fact]: string }

/** What is wrong, and why. */
const troubleOf = ({ error, isWatched, job, steps, trouble }: Job): Pick<Facts, "trouble" | "why"> => {
  // the messages begin with the job
  const reason = (message: string) => `: ${message.split(`${job}: `).at(-1)}`
  if (error !== undefined) return { trouble: "gave up", why: reason(error) }
  if (trouble !== undefined) {
    return { trouble: `not seen for ${elapsed(now() - Date.parse(trouble.since))}`, why: reason(trouble.message) }
  }
  const last = steps.at(-1)
  return { trouble: isWatched || (last !== undefined && isEnd(last)) ? "" : "not watched any more", why: "" }
}

export const factsOf = (job: Job): Facts => {
  const { exact, expectedEnd, inQueue, since, steps } = job
  const first = steps[0]
  const last = steps.at(-1)
  const isOver = last !== undefined && isEnd(last)
  const end = isOver ? timeOf(last) : now()
  const inWords = isOver ? precisely : elapsed
  const atEnd = isOver ? steps.at(-2) : last
  const progress = last?._tag === "Completed" ? 1 : atEnd?.progress
  const waiting = last !== undefined && words[last._tag] === words["Queued"] && since !== undefined
    ? end - Date.parse(since)
    : 0
  const left = expectedEnd === undefined || isOver ? undefined : Date.parse(expectedEnd) - now()
  return {
    job: job.job,
    state: last === undefined ? (job.error === undefined ? "… asking" : "? unknown") : words[last._tag] ?? "? unknown",
    attempt: last === undefined || last.attempt === 0 ? "" : String(last.attempt),
    progress: progress === undefined ? "" : percent(progress),
    age: first === undefined ? "" : inWords(end - timeOf(first)),
    queue: first === undefined ? "" : `${exact ? "" : "about "}${inWords(inQueue + waiting)}`,
    // an estimate that has passed says nothing
    left: left !== undefined && left > 0 ? `about ${elapsed(left)}` : "",
    ...troubleOf(job)
  }
}

export const nameOf = ({ _tag, attempt }: Step): string => `${_tag} ${attempt}`

/** After a server has restarted, it may know less: what this page has seen stays. */
export const merge = (before: Job, job: Job): Job => {
  const { error, isWatched, steps, trouble } = job
  if (steps.length === 0) return { ...before, error, isWatched, trouble }
  const observed = new Map(before.steps.filter(isObserved).map((step) => [nameOf(step), step]))
  return { ...job, steps: steps.map((step) => isObserved(step) ? step : observed.get(nameOf(step)) ?? step) }
}

const isObserved = ({ evidence }: Step): boolean => evidence === "observed"
