/**
 * The life of a job in a few figures, folded from its transitions.
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
  /** When the claim was made, by the server's clock, if the server reported it. */
  readonly claimedAt: Option.Option<DateTime.Utc>
  /** When the attempt ended, by the server's clock, if it has ended and the server reported it. */
  readonly endedAt: Option.Option<DateTime.Utc>
  /** How the attempt ended, if it has: the tag of the transition. */
  readonly end: Option.Option<"Requeued" | Exclude<Terminal["_tag"], "Canceled">>
}

/**
 * The figures of a job, folded from its transitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobSummary {
  /** The reference of the job. */
  readonly job: JobRef
  /** How many transitions there were. */
  readonly transitions: number
  /** The claims, oldest first. */
  readonly attempts: ReadonlyArray<Attempt>
  /** The last progress that was read in the current attempt. */
  readonly progress: Option.Option<number>
  /** How long the job waited in all, up to its last transition other than `Progressed`. */
  readonly inQueue: Duration.Duration
  /** How long the job ran in all, up to its last transition other than `Progressed`. */
  readonly running: Duration.Duration
  /**
   * Whether the server reported the time of every step that counts for `inQueue` and `running`. Where it did not, the
   * split between the two is taken from when the step was seen, or, for a step that was only inferred, from the step
   * before it.
   */
  readonly exact: boolean
  /** How the job ended, if it has: the tag of its last transition. */
  readonly outcome: Option.Option<Terminal["_tag"]>
  /** When the state that the job is in began, as far as it is known. */
  readonly since: Option.Option<DateTime.Utc>
  /** The last time that the server reported, and what the two durations came to by then. */
  readonly told: Option.Option<
    { readonly at: DateTime.Utc; readonly inQueue: Duration.Duration; readonly running: Duration.Duration }
  >
}

/**
 * A job of which nothing has been seen.
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

// When a step happened of which the server did not tell: when it was seen, by our clock, or, if it was not even seen,
// with the step before it.
const estimate = (transition: Transition, since: Option.Option<DateTime.Utc>): DateTime.Utc =>
  Option.match(since, {
    onNone: () => transition.observedAt,
    onSome: (since) => transition.evidence === "inferred" ? since : DateTime.max(since, transition.observedAt)
  })

// The durations up to a step, the job having been in the phase `phase` before it.
const measure = (self: JobSummary, phase: "inQueue" | "running", transition: Transition) => {
  const durations = { inQueue: Duration.toMillis(self.inQueue), running: Duration.toMillis(self.running) }
  const now = Option.getOrElse(transition.at, () => estimate(transition, self.since))
  if (Option.isSome(transition.at) && Option.isSome(self.told)) {
    // what was estimated since the last told time must fit between the two; of what does not, the latest gives way
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
 * The summary with one more transition. Made for `Stream.scan`, `Stream.runFold` and `Ref.update`.
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
  switch (transition._tag) {
    case "Queued":
      return next
    case "Claimed":
      return {
        ...next,
        progress: Option.none(),
        attempts: [
          ...self.attempts,
          { attempt: transition.attempt, claimedAt: transition.at, endedAt: Option.none(), end: Option.none() }
        ]
      }
    case "Canceled":
      return { ...next, outcome: Option.some(transition._tag) }
    case "Unrecognized":
    case "Requeued":
    case "Completed":
    case "FailedByModel":
    case "RetriesExhausted":
      return {
        ...next,
        attempts: last === undefined || !wasRunning
          ? self.attempts
          : [...self.attempts.slice(0, -1), { ...last, endedAt: transition.at, end: Option.some(transition._tag) }],
        outcome: transition._tag === "Requeued" ? Option.none() : Option.some(transition._tag)
      }
  }
}

/**
 * The summary of some transitions of a job, oldest first.
 *
 * @since 0.1.0
 * @category folding
 */
export const fromTransitions = (job: JobRef, transitions: Iterable<Transition>): JobSummary => {
  let summary = empty(job)
  for (const transition of transitions) summary = add(summary, transition)
  return summary
}
