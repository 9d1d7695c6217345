/**
 * Figures about a job, folded from its transitions.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { JobRef } from "./Job.js"
import type { Terminal, Transition } from "./Transition.js"

/**
 * One claim of a job by a worker.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempt {
  /** The number of the attempt, 1 for the first. */
  readonly attempt: number
  /** When the job was claimed, by the server's clock, if reported. */
  readonly claimedAt: Option.Option<DateTime.Utc>
  /** When the attempt ended, by the server's clock, if it has ended and the time was reported. */
  readonly endedAt: Option.Option<DateTime.Utc>
  /** The tag of the transition that ended the attempt, if it has ended. */
  readonly end: Option.Option<"Requeued" | Exclude<Terminal["_tag"], "Canceled">>
}

/**
 * Figures about a job, folded from its transitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobSummary {
  /** The reference of the job. */
  readonly job: JobRef
  /** The number of transitions. */
  readonly transitions: number
  /** The claims, oldest first. */
  readonly attempts: ReadonlyArray<Attempt>
  /** The latest progress of the current attempt. */
  readonly progress: Option.Option<number>
  /** The total time in the queue, up to the last transition other than `Progressed`. */
  readonly inQueue: Duration.Duration
  /** The total running time, up to the last transition other than `Progressed`. */
  readonly running: Duration.Duration
  /**
   * Whether the server reported the time of every step that counts for `inQueue` and `running`. For a step without a
   * time, the split between the two uses the time when the step was observed, or, if it was only inferred, the time of
   * the step before it.
   */
  readonly exact: boolean
  /** The tag of the last transition, if the job has ended. */
  readonly outcome: Option.Option<Terminal["_tag"]>
  /** When the current state began, if known. */
  readonly since: Option.Option<DateTime.Utc>
  /** The latest time that the server reported, and the two durations up to then. */
  readonly told: Option.Option<
    { readonly at: DateTime.Utc; readonly inQueue: Duration.Duration; readonly running: Duration.Duration }
  >
}

/**
 * Creates the summary of a job without transitions.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty = (job: JobRef): JobSummary => ({
  job,
  transitions: 0,
  attempts: [],
  progress: Option.none(),
  inQueue: Duration.zero,
  running: Duration.zero,
  exact: true,
  outcome: Option.none(),
  since: Option.none(),
  told: Option.none()
})

// The time of a step without a server time: when it was observed, or, if it was only inferred, the time of the step
// before it.
const estimate = (transition: Transition, since: Option.Option<DateTime.Utc>): DateTime.Utc =>
  Option.match(since, {
    onNone: () => transition.observedAt,
    onSome: (since) => transition.evidence === "inferred" ? since : DateTime.max(since, transition.observedAt)
  })

// The durations up to a step. `phase` is the phase of the job before it.
const measure = (self: JobSummary, phase: "inQueue" | "running", transition: Transition) => {
  const durations = { inQueue: Duration.toMillis(self.inQueue), running: Duration.toMillis(self.running) }
  const now = Option.getOrElse(transition.at, () => estimate(transition, self.since))
  if (Option.isSome(transition.at) && Option.isSome(self.told)) {
    // The durations estimated since the last reported time must fit in between; if not, the latest one is shortened.
    const { at, inQueue, running } = self.told.value
    const estimated = durations.inQueue + durations.running - Duration.toMillis(inQueue) - Duration.toMillis(running)
    const rest = Math.max(0, now.epochMillis - at.epochMillis) - estimated
    const before = phase === "inQueue" ? inQueue : running
    const share = Math.max(rest, Duration.toMillis(before) - durations[phase])
    durations[phase] += share
    durations[phase === "inQueue" ? "running" : "inQueue"] += rest - share
  } else if (Option.isSome(self.since)) {
    durations[phase] += Math.max(0, now.epochMillis - self.since.value.epochMillis)
  }
  const inQueue = Duration.millis(durations.inQueue)
  const running = Duration.millis(durations.running)
  return {
    inQueue,
    running,
    since: Option.some(now),
    told: Option.isSome(transition.at) ? Option.some({ at: transition.at.value, inQueue, running }) : self.told
  }
}

/**
 * Adds a transition to a summary. Made for `Stream.scan`, `Stream.runFold`, `Ref.update` and `Array.reduce`.
 *
 * @example
 * import { JobStream, JobSummary } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Stream } from "effect"
 *
 * const summarize = (job: Job.JobRef) =>
 *   Stream.runFold(JobStream.transitions(job), JobSummary.empty(job), JobSummary.add)
 *
 * @since 0.1.0
 * @category folding
 */
export const add = (self: JobSummary, transition: Transition): JobSummary => {
  const transitions = self.transitions + 1
  if (transition._tag === "Progressed") return { ...self, transitions, progress: transition.progress }

  const last = self.attempts.at(-1)
  const wasRunning = last !== undefined && Option.isNone(last.end)
  const next: JobSummary = {
    ...self,
    ...measure(self, wasRunning ? "running" : "inQueue", transition),
    transitions,
    exact: self.exact && Option.isSome(transition.at)
  }
  const { _tag, at, attempt } = transition
  switch (_tag) {
    case "Queued":
      return next
    case "Claimed": {
      const claim: Attempt = { attempt, claimedAt: at, endedAt: Option.none(), end: Option.none() }
      return { ...next, progress: Option.none(), attempts: [...self.attempts, claim] }
    }
    case "Canceled":
      return { ...next, outcome: Option.some(_tag) }
    default:
      return {
        ...next,
        attempts: wasRunning
          ? [...self.attempts.slice(0, -1), { ...last, endedAt: at, end: Option.some(_tag) }]
          : self.attempts,
        outcome: _tag === "Requeued" ? Option.none() : Option.some(_tag)
      }
  }
}
