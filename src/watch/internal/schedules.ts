/**
 * The schedules of the groups of a poller: the next pause after a response, the next try after an error. Each group has its
 * own: one that takes a while or dies affects no other.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import { flatMapEager } from "../../policy/internal/schedule.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { Executor } from "./executor.js"
import type { Trouble } from "./jobState.js"
import { isSameGroup, type Poller, type PollGroup } from "./poller.js"

/** What the schedule of a group has returned. @internal */
export type Answer<A, E = never> = readonly [group: PollGroup, exit: Exit.Exit<A, E>]

/** The next pause of a cadence; the first one has a period as well. @internal */
export interface Pause extends ScheduleDriver.CadenceStep {
  readonly period?: number
}

/** A try of a group, and the state of its retry then. @internal */
export type Try = NonNullable<PollGroup["retry"]>

const stateOf = ({ policy, retry }: PollGroup): unknown => retry === undefined ? policy.retry.initial : retry.state

type OnAnswers<A, E = never> = (answers: ReadonlyArray<Answer<A, E>>) => void

/**
 * Asks schedules. The answers that come at once are handled before a method returns, those that take a while one by one.
 * @internal
 */
export class Schedules {
  /**
   * @param clockAhead how far the service's clock is ahead of ours
   * @param onLate is called after an answer that took a while was handled
   */
  constructor(
    private readonly executor: Executor,
    private readonly clockAhead: () => number,
    private readonly onLate: () => void
  ) {}

  /** Asks all cadences for the pauses after a response at `at`. */
  askPauses(poller: Poller, status: JobStatus, at: number, onAnswers: OnAnswers<Pause>): void {
    this.ask(poller.groups, (group) =>
      poller.period === undefined
        ? this.firstPauseOf(group, status, at)
        : ScheduleDriver.nextPause(group.policy.cadence, this.wallTime(group, at), status, group.state), onAnswers)
  }

  /** Asks the cadence of a new group for its period, as if the group had been there when the response came. */
  askPeriod(group: PollGroup, status: JobStatus, at: number, onAnswers: OnAnswers<Pause>): void {
    this.ask([group], (group) =>
      flatMapEager(
        this.firstPauseOf(group, status, at),
        (next) => Effect.succeed({ ...next, pause: next.period })
      ), onAnswers)
  }

  /**
   * Asks the retries of the groups that asked for the try that has failed at `at`.
   *
   * @param noneLeft the error of a group that has no retries left
   */
  askTries<E>(poller: Poller, error: QueueError, at: number, noneLeft: () => E, onAnswers: OnAnswers<Try, E>): void {
    const failed = poller.groups.filter((group) => group.retry === undefined || group.retry.at <= at)
    for (const group of failed) group.retry = { state: stateOf(group), at: Infinity }
    this.ask(failed, (group) =>
      flatMapEager(
        this.tryOf(group, error, at, stateOf(group)),
        (next) => next === undefined ? Effect.fail(noneLeft()) : Effect.succeed(next)
      ), onAnswers)
  }

  /** Asks the retry of a new subscriber's group for its first try, as if the subscriber had seen the error. */
  askFirstTry(poller: Poller, policy: WatchPolicy, { at, error }: Trouble, onAnswers: OnAnswers<Try>): void {
    this.ask(poller.groups.filter((group) => isSameGroup(group.policy, policy)), (group) =>
      flatMapEager(
        this.tryOf(group, error, at, policy.retry.initial),
        (first) => Effect.succeed({ state: stateOf(group), at: Math.min(group.retry?.at ?? Infinity, first?.at ?? at) })
      ), onAnswers)
  }

  private ask<A, E>(
    groups: ReadonlyArray<PollGroup>,
    stepOf: (group: PollGroup) => Effect.Effect<A, E>,
    onAnswers: OnAnswers<A, E>
  ): void {
    const answers: Array<Answer<A, E>> = []
    for (const group of groups) {
      // one that is still running goes on
      if (group.step !== undefined) continue
      const step = stepOf(group)
      const exit = Exit.isExit(step)
        ? step as Exit.Exit<A, E> // the exit is the effect itself, so it has the same type
        : this.run(group, step, (exit) => onAnswers([[group, exit]]))
      if (exit !== undefined) answers.push([group, exit])
    }
    onAnswers(answers)
  }

  /** Runs a step, and returns its exit if it ends at once. */
  private run<A, E>(
    group: PollGroup,
    step: Effect.Effect<A, E>,
    onExit: (exit: Exit.Exit<A, E>) => void
  ): Exit.Exit<A, E> | undefined {
    const fiber = this.executor.fork(step)
    const exit = Fiber.exitOf(fiber)
    if (exit !== null) return exit
    group.step = fiber
    fiber.addObserver((exit) => {
      // it was stopped, and has answered anyway
      if (group.step !== fiber) return
      group.step = undefined
      onExit(exit)
      this.onLate()
    })
  }

  /** A wall clock time for a group's schedules, by the service's clock, that advances steadily, even if a clock is set. */
  private wallTime(group: PollGroup, time: number): number {
    return this.executor.wallEpoch + group.clockShift + time
  }

  // the first pause may be a random part of the period (`Cadence.fixed`): the longer of the first two is the period
  private firstPauseOf(group: PollGroup, status: JobStatus, at: number): Effect.Effect<Required<Pause>> {
    const { policy: { cadence }, state } = group
    // a cadence compares the time with those of the service, whose clock is known from the first response on
    if (state === cadence.initial) group.clockShift = this.executor.clockShift + this.clockAhead()
    const now = this.wallTime(group, at)
    return flatMapEager(
      ScheduleDriver.nextPause(cadence, now, status, state),
      (first) =>
        flatMapEager(
          ScheduleDriver.nextPause(cadence, now + first.pause, status, first.state),
          (second) => Effect.succeed({ ...first, period: Math.max(first.pause, second.pause) })
        )
    )
  }

  private tryOf(group: PollGroup, error: QueueError, at: number, state: unknown): Effect.Effect<Try | undefined> {
    return flatMapEager(
      ScheduleDriver.step(group.policy.retry, this.wallTime(group, at), error, state),
      ([state, pause]) => Effect.succeed(pause === undefined ? undefined : { state, at: at + pause })
    )
  }
}
