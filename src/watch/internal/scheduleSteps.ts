/**
 * The steps of the schedules that the groups of a poller follow: a pause after a response, a next try after an error.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { JobStatus } from "../../model/Job.js"
import type { QueueError, WatchError } from "../../model/QueueError.js"
import { flatMapEager } from "../../policy/internal/schedule.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import { type Trouble, withKnown } from "./jobState.js"
import type { Poller, PollGroup } from "./poller.js"

/** The policies whose watches end. */
type Failed = ReadonlyArray<readonly [policy: WatchPolicy, cause: Cause.Cause<WatchError>]>

interface Pause {
  readonly pause: number
  readonly period: number
}

interface AfterResponse {
  /** `undefined` if all cadences died. */
  readonly next: Pause | undefined
  readonly failed: Failed
}

/** A wall clock time for a group's schedules that advances steadily, even if the wall clock is set. */
const wallTime = (group: PollGroup, wallEpoch: number, time: number): number => wallEpoch + group.clockShift + time

/**
 * The first pause of a cadence, and its period: the longer of the first two pauses. The first pause may be a random part
 * of the period (`Cadence.fixed`).
 * @internal
 */
export const firstPause = (
  group: PollGroup,
  status: JobStatus,
  wallEpoch: number,
  time: number
): Effect.Effect<Pause> => {
  const now = wallTime(group, wallEpoch, time)
  return Effect.flatMap(ScheduleDriver.nextPause(group, now, status), (pause) =>
    Effect.map(
      ScheduleDriver.nextPause({ cadence: group.cadence, state: group.state }, now + pause, status),
      (next) => ({ pause, period: Math.max(pause, next) })
    ))
}

const none: Failed = []

const stepped = (policy: WatchPolicy, step: Effect.Effect<Pause>): Effect.Effect<AfterResponse> => {
  const response = flatMapEager(step, (next) => Effect.succeed({ next, failed: none }))
  return Exit.isExit(response)
    ? response
    : Effect.catchAllCause(response, (cause) => Effect.succeed({ next: undefined, failed: [[policy, cause]] }))
}

/** The shortest pause of the groups' cadences, and their shortest period. A cadence that dies affects its group alone. @internal */
export const afterResponse = (
  poller: Poller,
  status: JobStatus,
  wallEpoch: number,
  now: number
): Effect.Effect<AfterResponse> => {
  const { period } = poller
  const step = (group: PollGroup): Effect.Effect<AfterResponse> =>
    stepped(
      group.policy,
      period === undefined
        ? firstPause(group, status, wallEpoch, now)
        // a pause may be a random part of the period (`Cadence.byPhase`), so a shorter one lowers the period by degrees
        : flatMapEager(
          ScheduleDriver.nextPause(group, wallTime(group, wallEpoch, now), status),
          (pause) => Effect.succeed({ pause, period: Math.max(pause, period / 2) })
        )
    )
  return poller.next === undefined ? step(poller) : Effect.map(Effect.forEach(poller.groups, step), shortestOf)
}

const shortestOf = (all: ReadonlyArray<AfterResponse>): AfterResponse => {
  const pauses = all.flatMap(({ next }) => next ?? [])
  return {
    next: pauses.length === 0 ? undefined : {
      pause: Math.min(...pauses.map(({ pause }) => pause)),
      period: Math.min(...pauses.map(({ period }) => period))
    },
    failed: all.flatMap(({ failed }) => failed)
  }
}

/** Sets the next try of each group that asked for this one. A group without retries left fails. @internal */
export const afterError = (
  poller: Poller,
  before: Trouble | undefined,
  error: QueueError,
  wallEpoch: number,
  now: number
): Effect.Effect<Failed> => {
  const failed: Array<Failed[number]> = []
  const due = poller.groups.filter(({ retry }) => retry === undefined || retry.at <= now)
  return Effect.as(
    Effect.forEach(due, (group) => {
      const { policy, retry } = group
      const state = retry?.state ?? policy.retry.initial
      return Effect.matchCause(ScheduleDriver.step(policy.retry, wallTime(group, wallEpoch, now), error, state), {
        onFailure: (cause) => void failed.push([policy, cause]),
        onSuccess: ([state, pause]) => {
          // meanwhile its watches have left
          if (group.policy !== policy) return
          if (pause !== undefined) group.retry = { state, at: now + ScheduleDriver.retryPause(pause, error) }
          else failed.push([policy, Cause.fail(withKnown(error, poller, before, now))])
        }
      })
    }, { discard: true }),
    failed
  )
}
