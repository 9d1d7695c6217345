/**
 * The life of a job as the queue has it recorded.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { Rules } from "../../model/internal/rules.js"
import type { JobStatus } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import * as Queue from "./queueModel.js"

/**
 * What the service says of a job from this moment on, in milliseconds since the epoch.
 *
 * @internal
 */
export interface Moment {
  readonly at: number
  readonly status: JobStatus
}

/**
 * All that a job was, oldest first, where the queue recorded that.
 *
 * @internal
 */
export const momentsOf = (job: Queue.QueuedJob): ReadonlyArray<Moment> =>
  Queue.versions(job).map((version) => ({ at: version.since, status: Queue.snapshot(version) }))

/**
 * What became of the job as a snapshot of each moment tells it, each step `observed` at the very moment when it happened.
 *
 * @internal
 */
export const transitionsOf = (
  moments: Iterable<Moment>,
  rules?: Rules
): ReadonlyArray<Transition.Transition> => {
  let known = Option.none<Transition.Cursor>()
  const all: Array<Transition.Transition> = []
  for (const { at, status } of moments) {
    // snapshots of one job, in states that are known: nothing that could fail
    const { cursor, transitions } = Either.getOrThrow(
      Transition.derive(known, status, { observedAt: DateTime.unsafeMake(at), ...rules })
    )
    known = Option.some(cursor)
    for (const transition of transitions) all.push(transition)
  }
  return all
}

/**
 * The same, with the end that it truly had: a job that lost its last worker looks like one that its model failed, where
 * an earlier worker left a reason; and the other way round, where the model gave none.
 *
 * @internal
 */
export const trueTransitionsOf = (
  job: Queue.QueuedJob,
  rules?: Rules
): ReadonlyArray<Transition.Transition> => {
  const truth = job.history.at(-1)?._tag
  return transitionsOf(momentsOf(job), rules).map((told): Transition.Transition => {
    if (told._tag === "FailedByModel" && truth === "RetriesExhausted") {
      const { reason: _, ...rest } = told
      return { ...rest, _tag: "RetriesExhausted" }
    }
    return told._tag === "RetriesExhausted" && truth === "FailedByModel"
      ? { ...told, _tag: "FailedByModel", reason: Option.none() }
      : told
  })
}
