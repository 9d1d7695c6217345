// What the page shows of a job.
// @effect-diagnostics globalDate:off

import type { Entry, Step } from "../internal/boardJobs.js"

export type { Step }

/** What the server sends of a job. */
export type Job = Entry["shown"]

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

export const words: { readonly [tag in Step["_tag"]]: string } = {
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

/** Whether the job has ended. */
export const isOver = ({ steps }: Job): boolean => {
  const last = steps.at(-1)
  return last !== undefined && !["Queued", "Requeued", "Claimed", "Progressed"].includes(last._tag)
}

const percent = (fraction: number): string => `${Math.floor(100 * fraction)} %`

export const describe = (step: Step): string => {
  switch (step._tag) {
    case "Claimed":
      return `Claimed by a worker, attempt ${step.attempt}`
    case "Progressed":
      return step.progress === undefined ? "Progressed" : `Progressed to ${percent(step.progress)}`
    case "Requeued":
      return `Worker lost, back in the queue, retries left: ${step.retriesLeft}`
    case "Completed":
      return "Done"
    case "FailedByModel":
      return `Failed by the model${step.reason === undefined ? "" : `: ${step.reason}`}`
    case "RetriesExhausted":
      return "Failed: every attempt lost its worker"
    case "Unrecognized":
      return `Unknown state ${step.status}`
    default:
      return step._tag
  }
}

/** What is written of a job, where `index.html` has it as `data-fact`. */
export type Fact = "job" | "state" | "attempt" | "progress" | "age" | "queue" | "left" | "trouble" | "why"

export type Facts = { readonly [fact in Fact]: string }

/** What is wrong, and why. */
const troubleOf = (shown: Job): Pick<Facts, "trouble" | "why"> => {
  const { error, isWatched, job, trouble } = shown
  // the messages begin with the job
  const reason = (message: string) => `: ${message.split(`${job}: `).at(-1)}`
  if (error !== undefined) return { trouble: "gave up", why: reason(error) }
  if (trouble !== undefined) {
    return { trouble: `not seen for ${elapsed(now() - Date.parse(trouble.since))}`, why: reason(trouble.message) }
  }
  return { trouble: isWatched || isOver(shown) ? "" : "not watched any more", why: "" }
}

export const factsOf = (job: Job): Facts => {
  const { exact, expectedEnd, inQueue, since, steps } = job
  const first = steps[0]
  const last = steps.at(-1)
  const hasEnded = isOver(job)
  const end = hasEnded && last !== undefined ? timeOf(last) : now()
  const inWords = hasEnded ? precisely : elapsed
  const before = hasEnded ? steps.at(-2) : last
  const progress = last?._tag === "Completed" ? 1 : before?._tag === "Progressed" ? before.progress : undefined
  const isWaiting = last?._tag === "Queued" || last?._tag === "Requeued"
  const waiting = isWaiting && since !== undefined ? end - Date.parse(since) : 0
  const left = expectedEnd === undefined || hasEnded ? undefined : expectedEnd - now()
  return {
    job: job.job,
    state: last !== undefined ? words[last._tag] : job.error === undefined ? "… asking" : words.Unrecognized,
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
