/**
 * Reads the notices of one job.
 *
 * @internal
 */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Rules, rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import { JobMismatch } from "../../model/QueueError.js"
import type { UnrecognizedStatus, WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import { JobWatcher } from "../JobWatcher.js"
import type { Notice, SubscribeOptions, Subscription } from "./notice.js"
import { policyOf, type PolicyOptions } from "./outcome.js"
import { spanned } from "./span.js"

interface Options extends PolicyOptions {
  readonly from?: Transition.Cursor | undefined
}

/** @internal */
export interface Opened {
  readonly subscription: Subscription
  readonly policy: WatchPolicy
  readonly rules: Rules
}

/** @internal */
export const open = (
  span: string | undefined,
  job: Job.JobRef,
  { from, ...options }: Options,
  wants: SubscribeOptions["wants"]
): Effect.Effect<Opened, JobMismatch, JobWatcher | Scope.Scope> =>
  from !== undefined && !Transition.Cursor.isOf(from, job)
    ? Effect.fail(new JobMismatch({ job }))
    : Effect.gen(function*() {
      if (span !== undefined) yield* spanned(span, job)
      const watcher = yield* JobWatcher
      const policy = yield* policyOf(options)
      const subscription = yield* watcher.subscribe({ policy, wants })
      yield* subscription.add(job, from)
      return { subscription, policy, rules: yield* rules }
    })

/** Derives the transitions that a sample adds, and moves the subscriber's cursor. @internal */
export const derive = (
  { at, status, watch }: Extract<Notice, { readonly _tag: "Sample" }>,
  { policy, rules }: Pick<Opened, "policy" | "rules">
): Either.Either<ReadonlyArray<Transition.Transition>, UnrecognizedStatus | JobMismatch> =>
  Either.map(
    Transition.derive(Option.fromNullable(watch.cursor), status, {
      observedAt: at,
      ...rules,
      unrecognized: policy.unrecognized === "end" ? "end" : "fail"
    }),
    ({ cursor, transitions }) => {
      watch.cursor = cursor
      return transitions
    }
  )

// `Stream.unfoldChunkEffect` without its state, to save memory: there are many of these
const pulled = <A, E, R>(
  next: Effect.Effect<Option.Option<Chunk.Chunk<A>>, E, R>
): Stream.Stream<A, E, R> => {
  const loop: Channel.Channel<Chunk.Chunk<A>, unknown, E, unknown, void, unknown, R> = Channel.flatMap(
    Channel.fromEffect(next),
    Option.match({ onNone: () => Channel.void, onSome: (chunk) => Channel.zipRight(Channel.write(chunk), loop) })
  )
  return Stream.fromChannel(loop)
}

/** The elements that `select` makes of a job's notices, up to its end. @internal */
export const streamed = <A>(
  span: string,
  job: Job.JobRef,
  options: Options,
  wants: SubscribeOptions["wants"],
  select: (
    notice: Exclude<Notice, { readonly _tag: "Ended" }>,
    opened: Opened
  ) => Either.Either<ReadonlyArray<A>, WatchError>
): Stream.Stream<A, WatchError, JobWatcher> =>
  options.from?.phase === "Ended" && Transition.Cursor.isOf(options.from, job)
    ? Stream.empty
    : Stream.unwrapScoped(Effect.map(open(span, job, options, wants), (opened) => {
      let end: Exit.Exit<void, WatchError> | undefined
      const next: Effect.Effect<Option.Option<Chunk.Chunk<A>>, WatchError> = Effect.suspend(() =>
        end !== undefined
          ? Effect.as(end, Option.none())
          : Effect.flatMap(opened.subscription.next, (notices) => {
            const elements: Array<A> = []
            for (const notice of notices) {
              if (notice._tag === "Ended") {
                end = notice.exit
                break
              }
              const selected = select(notice, opened)
              if (Either.isLeft(selected)) {
                end = Exit.fail(selected.left)
                break
              }
              for (const element of selected.right) elements.push(element)
            }
            return elements.length > 0 ? Effect.succeedSome(Chunk.unsafeFromArray(elements)) : next
          })
      )
      return pulled(next)
    }))
