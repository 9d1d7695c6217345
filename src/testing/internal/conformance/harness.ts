/** The parts of the conformance checks, and their runner. @internal */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Iterable from "effect/Iterable"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Struct from "effect/Struct"
import type { YieldWrap } from "effect/Utils"
import * as Job from "../../../model/Job.js"
import { QueueError } from "../../../model/QueueError.js"
import type { OutcomeError, WatchError } from "../../../model/QueueError.js"
import { forkScoped } from "../../../queue/internal/fiber.js"
import { clip } from "../../../queue/internal/request.js"
import { JobQueue } from "../../../queue/JobQueue.js"
import type { Service } from "../../../queue/JobQueue.js"
import type { JobWatcher } from "../../../watch/JobWatcher.js"
import type { Pool, Script } from "../../Worker.js"
import { inline, lines, same } from "../diff.js"

// -----------------------------------------------------------------------------
// checks
// -----------------------------------------------------------------------------

/** @internal */
export class Difference extends Data.TaggedError("Difference")<{
  readonly what: string
  readonly expected: string
  readonly actual: string
}> {}

/** The errors of a check. Other errors than a `Difference` are unexpected. @internal */
export type CheckError = Difference | WatchError | OutcomeError

/** @internal */
export interface Target {
  readonly model: string
  readonly payload: Job.JsonObject
  /** Lets time pass. */
  readonly pass: (duration: Duration.DurationInput) => Effect.Effect<void>
}

/**
 * What the queue must offer for a check: other users may share it, the check has it for itself, or it is new and its
 * workers follow the script of the check.
 */
type Needs = "shared" | "exclusive" | "scripted"

type Body = Effect.Effect<void, CheckError, JobQueue | JobWatcher | Scope.Scope>

/** @internal */
export interface Spec {
  readonly name: string
  readonly needs: Needs
  readonly workers: Pool | undefined
  readonly body: (target: Target) => Body
}

/** Checks by their names, each as the body of an `Effect.gen`. @internal */
export interface Checks {
  readonly [name: string]: (target: Target) => Generator<YieldWrap<Body>, void, never>
}

/** @internal */
export const specs = (needs: Needs, checks: Checks, workers?: Pool): ReadonlyArray<Spec> =>
  Object.entries(checks).map(([name, check]) => ({ name, needs, workers, body: Effect.fnUntraced(check) }))

/** Creates a pool whose claims last longer than any check. @internal */
export const pool = (script: Script, options: Omit<Pool, "script"> = {}): Pool => ({
  claimTimeout: "2 hours",
  ...options,
  script
})

/** The pauses of a wait: ten seconds, the first of them in small steps. @internal */
export const pauses: ReadonlyArray<Duration.DurationInput> = [
  ...Array.from({ length: 100 }, () => "10 millis" as const),
  ...Array.from({ length: 90 }, () => "100 millis" as const)
]

/** Lets time pass until an effect has ended. Fails if it does not end within ten seconds. @internal */
export const inTime = <A, E, R>(
  { pass }: Target,
  what: string,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Difference, R> =>
  Effect.scoped(Effect.gen(function*() {
    const fiber = yield* forkScoped(effect)
    for (const pause of pauses) {
      const exit = yield* Fiber.poll(fiber)
      if (Option.isSome(exit)) return yield* exit.value
      yield* pass(pause)
    }
    return yield* new Difference({ what, expected: "an end within 10 seconds", actual: "it still runs" })
  }))

// -----------------------------------------------------------------------------
// expectations
// -----------------------------------------------------------------------------

const text = (value: unknown): string => lines(value).join("\n")

/** Fails unless the two values have the same lines. @internal */
export const expect = (what: string, actual: unknown, expected: unknown): Effect.Effect<void, Difference> =>
  same(actual, expected)
    ? Effect.void
    : Effect.fail(new Difference({ what, expected: text(expected), actual: text(actual) }))

/** Fails unless `holds`, with the expectation in words. @internal */
export const expectThat = (what: string, actual: unknown, holds: boolean, expected: string) =>
  holds ? Effect.void : Effect.fail(new Difference({ what, expected, actual: text(actual) }))

const millis = (time: Option.Option<DateTime.Utc>): number | null =>
  Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

/** Returns a snapshot as plain values, with `null` for missing fields. @internal */
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

const encodeError = Schema.encodeUnknown(QueueError)

/**
 * Returns the encoded fields of the error of a call. Fails if the call succeeds, or fails with another error.
 *
 * @internal
 */
export const errorOf = <A, R>(
  what: string,
  call: Effect.Effect<A, QueueError, R>
): Effect.Effect<{ readonly [field: string]: unknown }, Difference, R> =>
  Effect.flip(call).pipe(
    Effect.mapError(() => new Difference({ what, expected: "an error", actual: "success" })),
    Effect.flatMap((error) =>
      Effect.mapError(
        encodeError(error),
        () => new Difference({ what, expected: "a QueueError", actual: text(error) })
      )
    ),
    Effect.map((fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)))
  )

/** An id that no queue knows: that of the example in the documents of the service. @internal */
export const unknownId = "019ba379-92da-71e4-ac40-d98059fd67c7"

/** Passes a value of the wrong type, as a program in JavaScript may. @internal */
export const bad = (value: unknown): never => value as never

// -----------------------------------------------------------------------------
// the log of calls, and cleaning up
// -----------------------------------------------------------------------------

const maxShownCalls = 20
const maxShownLength = 160

interface Log {
  readonly calls: Array<string>
  readonly jobs: Array<Job.JobRef>
}

const shownCalls = ({ calls }: Log): ReadonlyArray<string> => {
  const runs = Array.from(
    Iterable.group(calls),
    (run) => run.length === 1 ? run[0] : `${run[0]} (${run.length} times)`
  )
  return runs.length > maxShownCalls
    ? [`… ${runs.length - maxShownCalls} calls before that`, ...runs.slice(-maxShownCalls)]
    : runs
}

const isRef = Schema.is(Job.JobRef)

// On a queue that others share, a submit is not interrupted: its job could not be canceled.
const logged = (queue: Service, needs: Needs, log: Log): Service => {
  const note = <A, E>(
    operation: string,
    input: unknown,
    call: Effect.Effect<A, E>,
    show: (result: A) => string = inline
  ): Effect.Effect<A, E> =>
    Effect.onExit(call, (exit) =>
      Effect.sync(() => {
        const shownInput = isRef(input) ? Job.format(input) : inline(input)
        const result = Exit.match(exit, {
          onSuccess: show,
          onFailure: (cause) =>
            Cause.isInterruptedOnly(cause) ? "interrupted" : Cause.pretty(cause).split("\n", 1)[0] ?? ""
        })
        log.calls.push(`${operation} ${clip(shownInput, maxShownLength)} → ${clip(result, maxShownLength)}`)
      }))
  return {
    status: (job) => note("status", job, queue.status(job), ({ _tag }) => _tag),
    submit: (request) => {
      const call = Effect.tap(
        note("submit", request, queue.submit(request), ({ requestId }) => requestId),
        (job) => Effect.sync(() => log.jobs.push(job))
      )
      return needs === "scripted" ? call : Effect.uninterruptible(call)
    },
    cancel: (job) => note("cancel", job, queue.cancel(job)),
    clear: (model) => note("clear", model, queue.clear(model)),
    metrics: (model) => note("metrics", model, queue.metrics(model))
  }
}

/** Cancels a job that a check leaves behind. Tries again after any error, such as that of a replica that lags. */
const cancelLeftover = (queue: Service, job: Job.JobRef, pass: Target["pass"]): Effect.Effect<void> =>
  Effect.suspend(() => queue.cancel(job)).pipe(
    Effect.sandbox,
    Effect.tapError(() => pass("1 second")),
    Effect.retry({ times: 3 }),
    Effect.catchAll((cause) =>
      Effect.logWarning(`${Job.format(job)}: left behind by a check, could not be canceled`, cause)
    ),
    Effect.asVoid
  )

// -----------------------------------------------------------------------------
// running a check
// -----------------------------------------------------------------------------

const explain = (cause: Cause.Cause<unknown>) => {
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (failure instanceof Difference) return Struct.pick(failure, "what", "expected", "actual")
  // the message of an error is enough; a defect needs its stack
  const error = failure instanceof Error ? `${failure.name}: ${failure.message}` : Cause.pretty(cause)
  return { what: `unexpected error: ${error}` }
}

/** @internal */
export interface Subject<LE, WE> extends Target {
  readonly layer: Layer.Layer<JobQueue, LE>
  readonly watcher: Layer.Layer<JobWatcher, WE, JobQueue>
}

/** Runs a check on a new build of the layers. @internal */
export const runCheck = <LE, WE>(subject: Subject<LE, WE>, spec: Spec) =>
  Effect.suspend(() => {
    const log: Log = { calls: [], jobs: [] }
    const queue = Layer.provide(
      Layer.scoped(
        JobQueue,
        Effect.gen(function*() {
          const queue = yield* JobQueue
          if (spec.needs !== "scripted") {
            yield* Effect.addFinalizer(() =>
              Effect.forEach(log.jobs, (job) => cancelLeftover(queue, job, subject.pass), { concurrency: 4 })
            )
          }
          return logged(queue, spec.needs, log)
        })
      ),
      subject.layer
    )
    return Layer.build(Layer.provideMerge(subject.watcher, queue)).pipe(
      Effect.flatMap((context) => Effect.provide(spec.body(subject), context)),
      Effect.scoped,
      // an interruption from outside does not come here; that of a queue that interrupts itself does
      Effect.catchAllCause((cause) => Effect.fail({ check: spec.name, ...explain(cause), calls: shownCalls(log) }))
    )
  })
