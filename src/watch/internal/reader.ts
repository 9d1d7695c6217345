/** Reads the notices of one job. @internal */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import { JobMismatch, type UnrecognizedStatus, type WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { JobWatcher } from "../JobWatcher.js"
import type { DeriveRules, Ended, Notice, Sample, SubscribeOptions, Subscription } from "./notice.js"
import { policyOf, type PolicyOptions } from "./outcome.js"
import { spanned } from "./span.js"

/** The elements of a notice. */
type Select<A> = (
  notice: Exclude<Notice, Ended>,
  rules: DeriveRules
) => Either.Either<ReadonlyArray<A>, WatchError>

/** How the notices of one job are read. @internal */
export interface Reading<A> {
  /** The name of the span of the watch; without one, it has none. */
  readonly span?: string
  readonly job: Job.JobRef
  readonly options: PolicyOptions & { readonly from?: Transition.Cursor | undefined }
  readonly wants: SubscribeOptions["wants"]
  readonly select: Select<A>
}

interface Opened extends DeriveRules {
  readonly subscription: Subscription
}

/**
 * Derives what a sample adds to a cursor. The sample keeps the answer: what observes it on its way to the subscriber mostly
 * asks the same.
 * @internal
 */
export const deriveFrom = (
  cursor: Transition.Cursor | undefined,
  sample: Sample,
  { readProgress, readReason, unrecognized }: DeriveRules
): ReturnType<typeof Transition.derive> => {
  const { at, derived: known, status } = sample
  if (
    known !== undefined && known.readProgress === readProgress && known.readReason === readReason &&
    (known.unrecognized === unrecognized || status._tag !== "Unrecognized") && isSame(known.cursor, cursor)
  ) return known.result
  const result = Transition.derive(Option.fromNullable(cursor), status, {
    observedAt: at,
    readProgress,
    readReason,
    unrecognized: unrecognized === "end" ? "end" : "fail"
  })
  sample.derived = { cursor, readProgress, readReason, unrecognized, result }
  return result
}

const isSame = (a: Transition.Cursor | undefined, b: Transition.Cursor | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && Transition.Cursor.isSame(a, b))

/** Derives the transitions that a sample adds, and moves the subscriber's cursor. @internal */
export const derive = (
  sample: Sample,
  rules: DeriveRules
): Either.Either<ReadonlyArray<Transition.Transition>, UnrecognizedStatus | JobMismatch> =>
  Either.map(deriveFrom(sample.watch.cursor, sample, rules), ({ cursor, transitions }) => {
    sample.watch.cursor = cursor
    return transitions
  })

/** Reads the notices of a subscription to one job. */
class Reader<A> {
  private end: Exit.Exit<void, WatchError> | undefined = undefined

  constructor(private readonly opened: Opened, private readonly select: Select<A>) {}

  /** The next elements; none after the end. */
  get next(): Effect.Effect<ReadonlyArray<A>, WatchError> {
    return this.end === undefined
      ? Effect.flatMap(this.opened.subscription.next, this.read)
      : Effect.as(this.end, [])
  }

  private readonly read = (notices: Iterable<Notice>): Reader<A>["next"] => {
    const elements: Array<A> = []
    for (const notice of notices) {
      if (notice._tag === "Ended") this.end = notice.exit
      else {
        const selected = this.select(notice, this.opened)
        if (Either.isLeft(selected)) this.end = Exit.fail(selected.left)
        else for (const element of selected.right) elements.push(element)
      }
      if (this.end !== undefined) break
    }
    return elements.length > 0 ? Effect.succeed(elements) : this.next
  }
}

/** Subscribes to no jobs yet. @internal */
export const subscribe = (
  options: PolicyOptions,
  wants: SubscribeOptions["wants"]
): Effect.Effect<Opened, never, JobWatcher | Scope.Scope> =>
  Effect.gen(function*() {
    const watcher = yield* JobWatcher
    const policy = yield* policyOf(options)
    const subscription = yield* watcher.subscribe({ policy, wants })
    return { subscription, unrecognized: policy.unrecognized, ...(yield* rules) }
  })

const open = <A>(
  { job, options: { from, ...options }, select, span, wants }: Reading<A>,
  scope: Scope.Scope
): Effect.Effect<Reader<A>, JobMismatch, JobWatcher> =>
  from !== undefined && !Transition.Cursor.isOf(from, job)
    ? Effect.fail(new JobMismatch({ job }))
    : Effect.gen(function*() {
      if (span !== undefined) yield* spanned(span, job)
      const opened = yield* subscribe(options, wants)
      yield* opened.subscription.add(job, from)
      return new Reader(opened, select)
    }).pipe(Scope.extend(scope))

// What a watch retains while it waits counts, since there are many. `Effect.scoped` and `Stream.unwrapScoped` would retain
// a context with the scope (3 KiB), and an effect that is not suspended its whole description (1.2 KiB).

/** Watches a job, and calls `onElements` with its elements until that returns a value. @internal */
export const untilSome = <A, B>(
  reading: Reading<A>,
  onElements: (elements: ReadonlyArray<A>) => Effect.Effect<B | undefined>
): Effect.Effect<B, WatchError, JobWatcher> =>
  Effect.scopedWith((scope) => {
    const loop = (reader: Reader<A>): Effect.Effect<B, WatchError> =>
      Effect.flatMap(reader.next, (elements) =>
        Effect.flatMap(onElements(elements), (result) =>
          result === undefined ? loop(reader) : Effect.succeed(result)))
    return Effect.suspend(() =>
      Effect.flatMap(open(reading, scope), loop)
    )
  })

/** The elements of a watch, up to its end. @internal */
export const streamed = <A>(reading: Reading<A>): Stream.Stream<A, WatchError, JobWatcher> => {
  const { job, options: { from } } = reading
  return from?.phase === "Ended" && Transition.Cursor.isOf(from, job)
    ? Stream.empty
    : Stream.fromChannel(Channel.unwrap(Effect.map(Scope.make(), (scope) =>
      Channel.ensuringWith(
        Channel.flatMap(Channel.fromEffect(open(reading, scope)), pulled),
        (exit) => Scope.close(scope, exit)
      ))))
}

const pulled = <A>(reader: Reader<A>): Channel.Channel<Chunk.Chunk<A>, unknown, WatchError, unknown, void> =>
  Channel.flatMap(Channel.fromEffect(reader.next), (elements) =>
    elements.length === 0
      ? Channel.void
      : Channel.flatMap(Channel.write(Chunk.unsafeFromArray(elements)), () => pulled(reader)))
