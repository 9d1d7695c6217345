/**
 * What the checks of the conformance suite are made of, and how one is run.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Job from "../../../model/Job.js"
import { QueueError } from "../../../model/QueueError.js"
import type { OutcomeError, WatchError } from "../../../model/QueueError.js"
import { clip } from "../../../queue/internal/request.js"
import { CancelResult, JobQueue, status as statusOf } from "../../../queue/JobQueue.js"
import type { Service, SubmitRequest } from "../../../queue/JobQueue.js"
import type { JobWatcher } from "../../../watch/JobWatcher.js"
import type { Pool, Script } from "../../Worker.js"
import { inline, lines, same } from "../diff.js"

// -----------------------------------------------------------------------------
// what a check is
// -----------------------------------------------------------------------------

// Public types refer to it, so it is not marked as internal: the build would leave it out.
export type Access = "shared" | "exclusive" | "scripted"

/** @internal */
export class Difference extends Data.TaggedError("Difference")<{
  readonly what: string
  readonly expected: string
  readonly actual: string
}> {}

/**
 * Whatever a check may meet. What is not a difference is one all the same: the check did not expect it.
 *
 * @internal
 */
export type Trouble = Difference | WatchError | OutcomeError

/**
 * What a check works with.
 *
 * - `until`: asks for the status of a job until it is as it shall be. `untilOver`: until it is done, failed or canceled.
 * - `inTime`: lets time pass until an effect has ended; one that never ends is a difference.
 *
 * @internal
 */
export interface Harness {
  readonly model: string
  readonly payload: Job.JsonObject
  readonly pass: (duration: Duration.DurationInput) => Effect.Effect<void>
  readonly until: (
    job: Job.JobRef,
    what: string,
    isSo: (status: Job.JobStatus) => boolean
  ) => Effect.Effect<Job.JobStatus, Trouble, JobQueue>
  readonly untilOver: (job: Job.JobRef) => Effect.Effect<Job.JobStatus, Trouble, JobQueue>
  readonly inTime: <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Difference, R>
}

/** @internal */
export interface Spec {
  readonly name: string
  readonly needs: Access
  readonly workers: Pool | undefined
  readonly body: (harness: Harness) => Effect.Effect<void, Trouble, JobQueue | JobWatcher>
}

/** @internal */
export const spec = (
  needs: Access,
  name: string,
  body: (harness: Harness) => Effect.Effect<void, Trouble, JobQueue | JobWatcher>,
  workers?: Pool
): Spec => ({ name, needs, workers, body })

/**
 * Workers whose claims last longer than any check.
 *
 * @internal
 */
export const pool = (script: Script, options: Omit<Pool, "script"> = {}): Pool => ({
  claimTimeout: "2 hours",
  ...options,
  script
})

// -----------------------------------------------------------------------------
// expectations
// -----------------------------------------------------------------------------

const text = (value: unknown): string => lines(value).join("\n")

/**
 * The two are the same, down to the last key.
 *
 * @internal
 */
export const expect = (what: string, actual: unknown, expected: unknown): Effect.Effect<void, Difference> =>
  same(actual, expected)
    ? Effect.void
    : Effect.fail(new Difference({ what, expected: text(expected), actual: text(actual) }))

/**
 * A value is as the words say.
 *
 * @internal
 */
export const expectThat = (
  what: string,
  actual: unknown,
  isSo: boolean,
  words: string
): Effect.Effect<void, Difference> =>
  isSo ? Effect.void : Effect.fail(new Difference({ what, expected: words, actual: text(actual) }))

const millis = (time: Option.Option<DateTime.Utc>): number | null =>
  Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

/**
 * All that a snapshot tells, as plain values; `null` for what it does not tell.
 *
 * @internal
 */
export const view = (status: Job.JobStatus) => ({
  tag: status._tag,
  model: status.job.model,
  requestId: status.job.requestId,
  createdAt: millis(status.createdAt),
  claimedAt: millis(status.claimedAt),
  doneAt: millis(status.doneAt),
  info: status.info,
  inputs: status.inputs,
  outputs: status.outputs,
  priority: Option.getOrNull(status.priority),
  retries: Option.getOrNull(status.retries),
  warnings: status.warnings
})

const encodeError = Schema.encodeUnknownEither(QueueError)

/**
 * The fields of the error that a call fails with, as it would travel. A call that succeeds, or fails with something
 * else, is a difference.
 *
 * @internal
 */
export const errorOf = <A, R>(
  what: string,
  call: Effect.Effect<A, QueueError, R>
): Effect.Effect<{ readonly [field: string]: unknown }, Difference, R> =>
  Effect.flatMap(Effect.either(call), (result) => {
    if (Either.isRight(result)) {
      return Effect.fail(new Difference({ what, expected: "an error", actual: "success" }))
    }
    const encoded = encodeError(result.left)
    return Either.isRight(encoded)
      // a field without a value is not there
      ? Effect.succeed(Object.fromEntries(Object.entries(encoded.right).filter(([, value]) => value !== undefined)))
      : Effect.fail(new Difference({ what, expected: "a QueueError", actual: text(result.left) }))
  })

// -----------------------------------------------------------------------------
// what was done, and what must be undone
// -----------------------------------------------------------------------------

const maxShown = 160

interface Notes {
  readonly calls: Array<{ readonly text: string; times: number }>
  readonly jobs: Map<string, Job.JobRef>
}

const note = (notes: Notes, text: string): void => {
  const last = notes.calls.at(-1)
  if (last?.text === text) last.times++
  else notes.calls.push({ text, times: 1 })
}

const shownCalls = ({ calls }: Notes): ReadonlyArray<string> => {
  const shown = calls.slice(-20).map(({ text, times }) => times === 1 ? text : `${text} (${times} times)`)
  return calls.length > shown.length ? [`… ${calls.length - shown.length} calls before that`, ...shown] : shown
}

const isRef = Schema.is(Job.JobRef)

const shownInput = (input: unknown): string => isRef(input) ? Job.format(input) : inline(input)

const shownAnswer = (operation: string, answer: unknown): string => {
  switch (operation) {
    case "submit":
      return (answer as Job.JobRef).requestId
    case "status":
      return (answer as Job.JobStatus)._tag
    default:
      return inline(answer)
  }
}

// Takes note of every call. On a queue that others use, nothing interrupts a submit: its job would be nobody's.
const recorded = (queue: Service, access: Access, notes: Notes): Service => {
  const noted = <A, E>(operation: string, input: unknown, call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.onExit(call, (exit) =>
      Effect.sync(() => {
        const came = Exit.match(exit, {
          onSuccess: (answer) => shownAnswer(operation, answer),
          onFailure: (cause) => Cause.isInterruptedOnly(cause) ? "interrupted" : Cause.pretty(cause).split("\n", 1)[0]
        })
        note(notes, `${operation} ${clip(shownInput(input), maxShown)} → ${clip(came ?? "", maxShown)}`)
      }))
  return {
    status: (job) => noted("status", job, queue.status(job)),
    submit: (request: SubmitRequest) => {
      const call = Effect.tap(
        noted("submit", request, queue.submit(request)),
        (job) => Effect.sync(() => notes.jobs.set(inline(job), job))
      )
      return access === "scripted" ? call : Effect.uninterruptible(call)
    },
    cancel: (job) => noted("cancel", job, queue.cancel(job)),
    clear: (model) => noted("clear", model, queue.clear(model)),
    metrics: (model) => noted("metrics", model, queue.metrics(model))
  }
}

const cancelAttempts = 4

/** Cancels a job that a check leaves behind. Whatever goes wrong, a replica that does not know it yet, is tried again. */
const withdraw = (queue: Service, job: Job.JobRef, pass: Harness["pass"], attempt = 1): Effect.Effect<void> =>
  Effect.catchAllCause(
    Effect.asVoid(queue.cancel(job)),
    (cause) =>
      attempt < cancelAttempts
        ? Effect.zipRight(pass("1 second"), Effect.suspend(() => withdraw(queue, job, pass, attempt + 1)))
        : Effect.logWarning(`${Job.format(job)}: left behind by a check, could not be canceled`, cause)
  )

// -----------------------------------------------------------------------------
// running a check
// -----------------------------------------------------------------------------

// How long anything is waited for: ten seconds, the first of them in small steps.
const pauses: ReadonlyArray<Duration.DurationInput> = [
  ...Array.from({ length: 100 }, () => "10 millis" as const),
  ...Array.from({ length: 90 }, () => "100 millis" as const)
]

const makeHarness = (subject: Pick<Harness, "model" | "payload" | "pass">): Harness => {
  const { pass } = subject
  const until: Harness["until"] = (job, what, isSo) =>
    Effect.gen(function*() {
      let status = yield* statusOf(job)
      for (const pause of pauses) {
        if (isSo(status)) return status
        yield* pass(pause)
        status = yield* statusOf(job)
      }
      return yield* new Difference({ what: "a job", expected: what, actual: text(view(status)) })
    })
  return {
    ...subject,
    until,
    untilOver: (job) => until(job, "over", Job.isTerminal),
    inTime: (what, effect) =>
      Effect.scoped(Effect.gen(function*() {
        const fiber = yield* Effect.forkScoped(effect)
        for (const pause of pauses) {
          const exit = yield* Fiber.poll(fiber)
          if (Option.isSome(exit)) return yield* exit.value
          yield* pass(pause)
        }
        return yield* new Difference({ what, expected: "an end", actual: "it goes on and on" })
      }))
  }
}

interface Failure {
  readonly check: string
  readonly what: string
  readonly expected?: string
  readonly actual?: string
  readonly calls: ReadonlyArray<string>
}

const explain = (cause: Cause.Cause<unknown>): Omit<Failure, "check" | "calls"> => {
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (failure instanceof Difference) {
    return { what: failure.what, expected: failure.expected, actual: failure.actual }
  }
  // an error says enough; of a bug one wants to know where it is
  const met = failure instanceof Error ? `${failure.name}: ${failure.message}` : Cause.pretty(cause)
  return { what: `it met what it should not: ${met}` }
}

/** @internal */
export const runCheck = <E, LE>(
  subject: Pick<Harness, "model" | "payload" | "pass"> & {
    readonly access: Access
    readonly layer: (workers?: Pool) => Layer.Layer<JobQueue, LE>
    readonly watcher: Layer.Layer<JobWatcher, never, JobQueue>
  },
  spec: Spec,
  toError: (failure: Failure) => E
): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const { access, layer, pass, watcher } = subject
    const notes: Notes = { calls: [], jobs: new Map() }
    const check: Effect.Effect<void, LE | Trouble, Scope.Scope> = Effect.gen(function*() {
      const queue = Context.get(yield* Layer.build(layer(spec.workers)), JobQueue)
      yield* Effect.addFinalizer(() =>
        access === "scripted"
          ? Effect.void
          : Effect.forEach(notes.jobs.values(), (job) => withdraw(queue, job, pass), {
            concurrency: 4,
            discard: true
          })
      )
      const watched = yield* Layer.build(
        watcher.pipe(Layer.provideMerge(Layer.succeed(JobQueue, recorded(queue, access, notes))))
      )
      yield* Effect.provide(spec.body(makeHarness(subject)), watched)
    })
    // who interrupts the check never comes here; a queue that interrupts itself does
    return Effect.catchAllCause(
      Effect.scoped(check),
      (cause) => Effect.fail(toError({ check: spec.name, ...explain(cause), calls: shownCalls(notes) }))
    )
  })

/**
 * A reference that no queue knows: it is that of the example in the documents of the service.
 *
 * @internal
 */
export const unknownId = "019ba379-92da-71e4-ac40-d98059fd67c7"

/** @internal */
export const canceled = CancelResult.Canceled()

/** @internal */
export const notCanceled = (status: string) => CancelResult.NotCanceled({ status })
