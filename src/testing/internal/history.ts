/** The recorded history of a job, as snapshots and as transitions. @internal */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { Rules } from "../../model/internal/rules.js"
import { tags } from "../../model/Job.js"
import type { JobStatus } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import type { QueuedJob } from "./queueModel.js"

const time = (millis: number | undefined) => Option.map(Option.fromNullable(millis), DateTime.unsafeMake)

/** Returns what the status endpoint reports of a job. @internal */
export const snapshot = (job: QueuedJob): JobStatus => ({
  _tag: tags[job.state],
  job: job.ref,
  createdAt: time(job.createdAt),
  claimedAt: time(job.claimedAt),
  doneAt: time(job.doneAt),
  info: job.info,
  inputs: job.inputs,
  outputs: job.outputs,
  priority: Option.some(job.priority),
  retries: Option.some(job.retries),
  warnings: []
})

// Newest first.
function* versionsOf(job: QueuedJob): Generator<QueuedJob> {
  for (let version: QueuedJob | undefined = job; version !== undefined; version = version.earlier) yield version
}

/** Returns the job as it was at a time, if it existed then. @internal */
export const asOf = (job: QueuedJob, at: number): Option.Option<QueuedJob> =>
  Arr.findFirst(versionsOf(job), ({ since }) => since <= at)

/** A snapshot, and the time since which the service returns it, in milliseconds since the epoch. @internal */
export interface Moment {
  readonly at: number
  readonly status: JobStatus
}

/** Returns every snapshot of a job, oldest first. @internal */
export const momentsOf = (job: QueuedJob): ReadonlyArray<Moment> =>
  Array.from(versionsOf(job), (version) => ({ at: version.changedAt, status: snapshot(version) })).reverse()

/** Derives the transitions of a job from its snapshots, each `observed` at the time when it happened. @internal */
export const transitionsOf = (moments: Iterable<Moment>, rules?: Rules): ReadonlyArray<Transition.Transition> => {
  const [, derived] = Arr.mapAccum(moments, Option.none<Transition.Cursor>(), (known, { at, status }) => {
    // snapshots of one job, in known states: `derive` cannot fail
    const { cursor, transitions } = Either.getOrThrow(
      Transition.derive(known, status, { observedAt: DateTime.unsafeMake(at), ...rules })
    )
    return [Option.some(cursor), transitions]
  })
  return derived.flat()
}

/**
 * Derives the transitions of a job, with its true end. The snapshots of a job that lost its last worker look like those
 * of a job that its model failed, if an earlier worker left a reason; and the reverse, if the model gave none.
 *
 * @internal
 */
export const trueTransitionsOf = (job: QueuedJob, rules?: Rules): ReadonlyArray<Transition.Transition> => {
  const end = job.history.at(-1)?._tag
  return transitionsOf(momentsOf(job), rules).map((derived): Transition.Transition => {
    if (derived._tag === "FailedByModel" && end === "RetriesExhausted") {
      const { reason: _, ...rest } = derived
      return { ...rest, _tag: "RetriesExhausted" }
    }
    return derived._tag === "RetriesExhausted" && end === "FailedByModel"
      ? { ...derived, _tag: "FailedByModel", reason: Option.none() }
      : derived
  })
}
