/**
 * One watch of one job, by way of a hub.
 *
 * @internal
 */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { type Rules, rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import { JobMismatch, type WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import type { Options, TransitionsOptions } from "../JobStream.js"
import { expire, makeWithin } from "./expiryErrors.js"
import { policyOf, spanOf } from "./outcome.js"
import { type End, Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"

class Watch extends Subscriber {
  private resume: (() => void) | undefined = undefined

  constructor(readonly policy: WatchPolicy, readonly wants: Subscriber["wants"]) {
    super()
  }

  notify(): void {
    const { resume } = this
    this.resume = undefined
    resume?.()
  }

  private get hasNews(): boolean {
    return this.end !== undefined || (this.wants !== "end" && this.hasSnapshot)
  }

  // made for each time: most of the time of a watch it waits for this, and then nothing of it needs to be kept
  get news(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.hasNews) return resume(Effect.void)
      this.resume = () => resume(Effect.void)
      return Effect.sync(() => {
        this.resume = undefined
      })
    })
  }
}

/** @internal */
export const failed = (
  queue: JobQueueService,
  job: Job.JobRef,
  policy: WatchPolicy,
  error: Exclude<End["error"], undefined>
): Effect.Effect<never, WatchError> =>
  error._tag === "Expired"
    ? Effect.flatMap(makeWithin, (within) => expire(within, queue, job, policy, error.known, error.expiry))
    : Effect.failCause(error)

/**
 * What a snapshot tells beyond a cursor; `undefined` where whoever watches is not to hear of it.
 *
 * @internal
 */
export const derived = (
  cursor: Transition.Cursor | undefined,
  { at, status }: { readonly at: number; readonly status: Job.JobStatus },
  scheduler: Scheduler,
  { unrecognized }: WatchPolicy,
  rules: Rules
) =>
  status._tag === "Unrecognized" && unrecognized === "ignore"
    ? undefined
    : Transition.derive(Option.fromNullable(cursor), status, {
      observedAt: scheduler.dateOf(at),
      ...rules,
      unrecognized: unrecognized === "end" ? "end" : "fail"
    })

// One span a watch, made when the watch is over: until then, the time when it began is all of it that takes room. An open
// span takes as much as all the rest of a result that is awaited.
const span = (name: string, job: Job.JobRef, begun: bigint, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    if (!fiber.getFiberRef(FiberRef.currentTracerEnabled)) return Effect.void
    const parent = Context.getOption(fiber.currentContext, Tracer.ParentSpan)
    return Effect.tracerWith((tracer) =>
      Effect.clockWith((clock) => {
        const span = tracer.span(name, parent, Context.empty(), [], begun, "internal")
        for (const [key, value] of Object.entries(spanOf(job).attributes)) span.attribute(key, value)
        span.end(clock.unsafeCurrentTimeNanos(), exit)
        return Effect.void
      })
    )
  })

const subscribed = (
  name: string,
  scheduler: Scheduler,
  job: Job.JobRef,
  options: Options,
  wants: Subscriber["wants"],
  from?: Transition.Cursor
) =>
  Effect.flatMap(Effect.zip(policyOf(options), Clock.currentTimeNanos), ([policy, begun]) => {
    const watch = new Watch(policy, wants)
    watch.from = from
    return Effect.acquireRelease(
      Effect.as(scheduler.subscribe(watch, job), watch),
      (watch, exit) => Effect.zipRight(scheduler.unsubscribe(watch), span(name, job, begun, exit))
    )
  })

// `Stream.unfoldChunkEffect` without the state that it would hand on: there are many of these.
const pulled = <A, E>(next: Effect.Effect<Option.Option<Chunk.Chunk<A>>, E>): Stream.Stream<A, E> => {
  const loop: Channel.Channel<Chunk.Chunk<A>, unknown, E, unknown, void> = Channel.flatMap(
    Channel.fromEffect(next),
    Option.match({ onNone: () => Channel.void, onSome: (chunk) => Channel.zipRight(Channel.write(chunk), loop) })
  )
  return Stream.fromChannel(loop)
}

/** @internal */
export const statuses = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  options: Options = {}
): Stream.Stream<Job.JobStatus, WatchError> =>
  Stream.unwrapScoped(Effect.map(subscribed("JobHub.statuses", scheduler, job, options, "polls"), (watch) => {
    const next: Effect.Effect<Option.Option<Chunk.Chunk<Job.JobStatus>>, WatchError> = Effect.suspend(
      () => {
        const status = watch.look()?.status
        if (status !== undefined && (status._tag !== "Unrecognized" || watch.policy.unrecognized === "end")) {
          return Effect.succeedSome(Chunk.of(status))
        }
        if (watch.end === undefined) return Effect.zipRight(watch.news, next)
        return watch.end.error === undefined
          ? Effect.succeedNone
          : failed(queue, job, watch.policy, watch.end.error)
      }
    )
    return pulled(next)
  }))

/** @internal */
export const transitions = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  { from, ...options }: TransitionsOptions = {}
): Stream.Stream<Transition.Transition, WatchError> => {
  if (from !== undefined && !Transition.Cursor.isOf(from, job)) return Stream.fail(new JobMismatch({ job }))
  if (from !== undefined && from.phase === "Ended") return Stream.empty
  return Stream.unwrapScoped(
    Effect.zipWith(
      subscribed("JobHub.transitions", scheduler, job, options, "changes", from),
      rules,
      (watch, rules) => {
        let cursor = from
        const next: Effect.Effect<Option.Option<Chunk.Chunk<Transition.Transition>>, WatchError> = Effect
          .suspend(() => {
            if (cursor?.phase === "Ended") return Effect.succeedNone
            const looked = watch.look()
            const told = looked && derived(cursor, looked, scheduler, watch.policy, rules)
            if (told !== undefined) {
              if (Either.isLeft(told)) return Effect.fail(told.left)
              cursor = told.right.cursor
              const { transitions } = told.right
              if (transitions.length > 0) return Effect.succeedSome(Chunk.unsafeFromArray(transitions))
            }
            if (watch.end === undefined) return Effect.zipRight(watch.news, next)
            return watch.end.error === undefined
              ? Effect.succeedNone
              : failed(queue, job, watch.policy, watch.end.error)
          })
        return pulled(next)
      }
    )
  )
}

/** @internal */
export const ended = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  options: Options = {}
): Effect.Effect<Transition.Terminal, WatchError> =>
  Effect.flatMap(Effect.all([policyOf(options), rules, Clock.currentTimeNanos]), ([policy, rules, begun]) => {
    const watch = new Watch(policy, "end")
    const end: Effect.Effect<Transition.Terminal, WatchError> = Effect.suspend(() => {
      if (watch.end === undefined) return Effect.zipRight(watch.news, end)
      if (watch.end.error !== undefined) return failed(queue, job, policy, watch.end.error)
      // an end without an error has a snapshot, and that is terminal, or in a state that is taken for the end
      const { at, status } = watch.look()!
      return Effect.map(
        derived(watch.end.before, { at, status }, scheduler, policy, rules)!,
        // what is derived from the end ends with a terminal transition
        ({ transitions }) => transitions.at(-1) as Transition.Terminal
      )
    })
    return Effect.acquireUseRelease(
      scheduler.subscribe(watch, job),
      () => end,
      (_, exit) => Effect.zipRight(scheduler.unsubscribe(watch), span("JobHub.result", job, begun, exit))
    )
  })
