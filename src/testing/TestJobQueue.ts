/**
 * The queue in memory, under Effect's `Clock`: a program that uses `JobQueue` runs on it unchanged, under `TestClock` in
 * virtual time. It has no fibers of its own; it moves to "now" whenever it is asked, so nothing can hang and nothing is
 * left running.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import { checkModel, checkRef, checkSubmit, clip, formatIssues } from "../internal/checkRequest.js"
import type { JobRef, JsonObject } from "../Job.js"
import { CancelResult, JobQueue } from "../JobQueue.js"
import { SubmitRequest } from "../QueueApi.js"
import { InvalidRequest, NotFound } from "../QueueError.js"
import type { Operation, QueueError } from "../QueueError.js"
import * as LocalQueue from "./internal/localQueue.js"
import { defaultClaimTimeout } from "./Worker.js"
import type { Pool, Task } from "./Worker.js"

/**
 * A call of the queue: the `nth` of its operation (1 for the first), at so many milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly operation: Operation
  readonly nth: number
  readonly at: number
  readonly model: string
  readonly requestId: string | undefined
}

/**
 * A step in the life of a job as it truly happened: `at` is in milliseconds since the epoch, `attempt` the number of the
 * last claim (0 while there was none).
 *
 * @since 0.1.0
 * @category models
 */
export interface Event {
  readonly _tag: "Queued" | "Claimed" | "Requeued" | "Completed" | "FailedByModel" | "RetriesExhausted" | "Canceled"
  readonly attempt: number
  readonly at: number
}

/**
 * - `workers`: who does the jobs. Without it they wait until the test claims them.
 * - `fault`: runs before each call. When it fails, so does the call, and nothing has happened; when it waits, so does the
 *   call.
 * - `seed`: what request ids are made from; the same seed makes the same ids.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly workers?: Pool | undefined
  readonly fault?: ((call: Call) => Effect.Effect<void, QueueError>) | undefined
  readonly seed?: string | number | undefined
}

/**
 * What a test sees and does behind the back of the program.
 *
 * - `calls`: every call so far, oldest first.
 * - `history`: what truly became of a job, oldest first.
 * - `claim`: takes the next job of a model, as a worker would.
 * - `heartbeat`, `finish`, `fail`: what the worker that has the job says of it; `false` when none has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  readonly history: (job: JobRef) => Effect.Effect<ReadonlyArray<Event>>
  readonly claim: (model: string, timeout?: Duration.DurationInput) => Effect.Effect<Option.Option<Task>>
  readonly heartbeat: (job: JobRef, info?: JsonObject) => Effect.Effect<boolean>
  readonly finish: (job: JobRef, outputs?: JsonObject) => Effect.Effect<boolean>
  readonly fail: (job: JobRef, reason: string) => Effect.Effect<boolean>
}

/**
 * The handle that comes with the queue in memory.
 *
 * @since 0.1.0
 * @category context
 */
export class TestJobQueue extends Context.Tag("effect-queue-status/testing/TestJobQueue")<TestJobQueue, Service>() {}

const json = Schema.parseJson(SubmitRequest)
const toJson = Schema.encode(json)
const fromJson = Schema.decode(json)

// What arrives is a copy, of what JSON can say: a queue that kept the object itself would change with it.
const overTheWire = (request: typeof SubmitRequest.Type): Effect.Effect<typeof SubmitRequest.Type, InvalidRequest> =>
  Effect.mapError(
    Effect.flatMap(toJson(request), fromJson),
    (error) => new InvalidRequest({ operation: "submit", model: request.model, detail: clip(formatIssues(error)) })
  )

/**
 * A queue of its own for whoever provides it.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { TestJobQueue, Worker } from "effect-queue-status/testing"
 * import { Effect, Fiber, TestClock, TestContext } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   return yield* JobStream.result(job)
 * })
 *
 * const test = Effect.gen(function*() {
 *   const fiber = yield* Effect.fork(program)
 *   yield* TestClock.adjust("1 minute")
 *   return yield* Fiber.join(fiber) // { sum: 3 }
 * }).pipe(
 *   Effect.provide(TestJobQueue.layer({
 *     workers: { script: Worker.always(Worker.progress("10 seconds", 0.5), Worker.finish("10 seconds", { sum: 3 })) }
 *   })),
 *   Effect.provide(TestContext.TestContext)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobQueue | TestJobQueue> =>
  Layer.effectContext(Effect.gen(function*() {
    const queue = yield* LocalQueue.make(options.workers, Random.make(options.seed ?? "effect-queue-status"))
    const calls = yield* Ref.make(Chunk.empty<Call>())
    const counts = new Map<Operation, number>()

    const called = (operation: Operation, model: string, requestId?: string): Effect.Effect<void, QueueError> =>
      Effect.gen(function*() {
        const at = yield* Clock.currentTimeMillis
        const nth = (counts.get(operation) ?? 0) + 1
        counts.set(operation, nth)
        const call: Call = { operation, nth, at, model, requestId }
        yield* Ref.update(calls, Chunk.append(call))
        if (options.fault !== undefined) yield* options.fault(call)
      })

    const noSuchJob = (operation: Operation, job: JobRef) =>
      new NotFound({
        operation,
        model: job.model,
        job,
        httpStatus: 404,
        code: "job_not_found",
        type: "not_found_error",
        detail: `no job ${job.requestId} of model ${job.model}`
      })

    const jobQueue = JobQueue.of({
      status: (input) =>
        Effect.gen(function*() {
          const job = yield* checkRef("status", input)
          yield* called("status", job.model, job.requestId)
          return yield* Effect.mapError(Effect.flatten(queue.status(job)), () => noSuchJob("status", job))
        }),
      submit: (input) =>
        Effect.gen(function*() {
          const request = yield* checkSubmit(input)
          const sent = yield* overTheWire(request)
          yield* called("submit", request.model)
          return yield* queue.submit(sent)
        }),
      cancel: (input) =>
        Effect.gen(function*() {
          const job = yield* checkRef("cancel", input)
          yield* called("cancel", job.model, job.requestId)
          const state = yield* Effect.mapError(Effect.flatten(queue.cancel(job)), () => noSuchJob("cancel", job))
          return state === "pending" ? CancelResult.Canceled() : CancelResult.NotCanceled({ status: state })
        }),
      clear: (input) =>
        Effect.gen(function*() {
          const model = yield* checkModel("clear", input)
          yield* called("clear", model)
          return yield* queue.clear(model)
        }),
      metrics: (input) =>
        Effect.gen(function*() {
          const model = yield* checkModel("metrics", input)
          yield* called("metrics", model)
          return yield* queue.metrics(model)
        })
    })

    const handle = TestJobQueue.of({
      calls: Effect.map(Ref.get(calls), Chunk.toReadonlyArray),
      history: queue.history,
      claim: (model, timeout) => queue.claim(model, Duration.toMillis(timeout ?? defaultClaimTimeout)),
      heartbeat: (job, info = {}) => queue.update({ ref: job, status: "running", info }),
      finish: (job, outputs = {}) => queue.update({ ref: job, status: "done", outputs }),
      fail: (job, reason) => queue.update({ ref: job, status: "failed", info: { error: reason } })
    })

    return Context.make(JobQueue, jobQueue).pipe(Context.add(TestJobQueue, handle))
  }))
