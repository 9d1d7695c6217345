/**
 * Jobs in durable workflows, on `@effect/workflow`: a workflow that submits a job and waits for it goes on after a crash of its
 * process where it was, on this machine or another.
 *
 * | step | engine | while it waits |
 * | --- | --- | --- |
 * | `submitOnce` | any | |
 * | `awaitJob` | any | the workflow stays in memory |
 * | `awaitJobSuspended` | that of `@effect/cluster` | the workflow is suspended: for long jobs, and many of them |
 *
 * A pipeline is a workflow with several of them. Each step of a workflow has a name, which must be unique in it; the steps of
 * this module are named after the `name`, or the job.
 *
 * @since 0.1.0
 */
import * as ClusterSchema from "@effect/cluster/ClusterSchema"
import * as Entity from "@effect/cluster/Entity"
import type { Sharding } from "@effect/cluster/Sharding"
import * as Rpc from "@effect/rpc/Rpc"
import * as Activity from "@effect/workflow/Activity"
import * as DurableDeferred from "@effect/workflow/DurableDeferred"
import { WorkflowEngine, type WorkflowInstance } from "@effect/workflow/WorkflowEngine"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { bucketOf, waitsType } from "../cluster/internal/entity.js"
import { format, JobRef, JobRefFromString, JsonObject } from "../model/Job.js"
import { OutcomeError, SubmitError, SubmitUncertain, WatchError } from "../model/QueueError.js"
import type { JobQueue, SubmitRequest } from "../queue/JobQueue.js"
import * as Submit from "../run/internal/submit.js"
import * as JobStream from "../watch/JobStream.js"
import { JobWatcher } from "../watch/JobWatcher.js"

type Steps = WorkflowEngine | WorkflowInstance

/** The submits that an engine of this process began, and has not sent yet. */
const begun = new WeakMap<WorkflowEngine["Type"], Set<number>>()

const begunBy = (engine: WorkflowEngine["Type"]): Set<number> => {
  const ids = begun.get(engine) ?? new Set()
  begun.set(engine, ids)
  return ids
}

const Begun = Schema.Struct({ id: Schema.Int, at: Schema.DateTimeUtc })

// An engine runs an activity again if its process ended before the result was stored, and does not say so. But the result
// of the activity before it is stored by then, and the new process has not begun what that one names.
const begin = (name: string) =>
  Activity.make({
    name: `${name}/begin`,
    success: Begun,
    execute: Effect.gen(function*() {
      const id = yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)
      begunBy(yield* WorkflowEngine).add(id)
      return { id, at: yield* DateTime.now }
    })
  })

// What a submit came to: a job, or `null` if there is provably none. An engine drops the result of an activity that it
// interrupts, as at the end of the process, or that `SuspendOnFailure` suspends.
const outcomeOf = (name: string) =>
  DurableDeferred.make(name, { success: Schema.NullOr(JobRef), error: SubmitError }).withActivityAttempt

/**
 * Submits a job once for an execution of a workflow, as activities. The key of the submit is that of the execution and the
 * `name`: `client_key` in the job's `info`.
 *
 * If the process ends in order, it waits for the response for up to 5 seconds, and the workflow goes on with the job, or
 * submits it if nothing was sent. If it crashes between the request and its response, the workflow goes on with
 * `SubmitUncertain`: the service has no idempotent submit, and a second request could create a second job. The error has the
 * key by which the job can be found.
 *
 * To repeat a submit that has failed, use `Activity.retry`.
 *
 * @since 0.1.0
 * @category activities
 */
export const submitOnce = (
  name: string,
  request: SubmitRequest
): Effect.Effect<JobRef, SubmitError, JobQueue | Steps> =>
  begin(name).pipe(
    Effect.flatMap(({ at, id }) =>
      Activity.make({
        name,
        success: Schema.NullOr(JobRef),
        error: SubmitError,
        execute: Effect.gen(function*() {
          const engine = yield* WorkflowEngine
          const outcome = yield* outcomeOf(name)
          const token = yield* DurableDeferred.token(outcome)
          const store = (exit: Exit.Exit<JobRef | null, SubmitError>) =>
            Effect.provideService(DurableDeferred.done(outcome, { token, exit }), WorkflowEngine, engine)
          const key = yield* Activity.idempotencyKey(name, { includeAttempt: true })
          if (!begunBy(engine).delete(id)) {
            // if the process that began it has stored another outcome, that one counts
            yield* store(Exit.fail(new SubmitUncertain({ model: request.model, key, at })))
            return yield* DurableDeferred.await(outcome)
          }
          const submission = yield* Submit.make({ key })
          return yield* Effect.uninterruptibleMask((restore) =>
            submission.acquire(request, {
              restore,
              patience: 5_000,
              onAbandoned: (job) => job === "unknown" ? Effect.void : store(Exit.succeed(job ?? null))
            }).pipe(
              Effect.tap((job) => store(Exit.succeed(job))),
              Effect.tapError((error) =>
                store(error._tag === "SubmitUncertain" ? Exit.fail(error) : Exit.succeed(null))
              )
            )
          )
        })
      })
    ),
    Effect.flatMap((job) => job === null ? submitOnce(`${name}/again`, request) : Effect.succeed(job))
  )

const ResultError = Schema.Union(WatchError, OutcomeError)
type ResultError = typeof ResultError.Type

/**
 * Waits for the end of a job, as an activity, and returns its outputs. Fails as `JobStream.result` does. After a restart the
 * watch begins again; the time limits of `WatchPolicy.Default` do so too.
 *
 * @since 0.1.0
 * @category activities
 */
export const awaitJob = (job: JobRef): Effect.Effect<JsonObject, ResultError, JobWatcher | Steps> =>
  Activity.make({
    name: `awaitJob ${format(job)}`,
    success: JsonObject,
    error: ResultError,
    execute: JobStream.result(job)
  })

const Waits = Entity.make(waitsType, [
  Rpc.make("Await", {
    payload: { job: JobRefFromString, token: DurableDeferred.Token },
    primaryKey: ({ token }) => token
  }).annotate(ClusterSchema.Persisted, true)
]).annotate(ClusterSchema.ClientTracingEnabled, false)

const resultOf = (job: JobRef) =>
  DurableDeferred.make(`awaitJob ${format(job)}`, { success: JsonObject, error: ResultError })

/**
 * Waits for the end of a job while the workflow is suspended, and returns its outputs. Fails as `JobStream.result` does.
 * Needs `layerWaits` on the runners, and the engine of `ClusterWorkflowEngine`.
 *
 * A caller of `execute` learns of the end late, as it asks for the result after growing pauses of up to 30 seconds: give the
 * workflow `suspendedRetrySchedule: Schedule.spaced("1 second")`.
 *
 * @since 0.1.0
 * @category waiting
 */
export const awaitJobSuspended = (job: JobRef): Effect.Effect<JsonObject, ResultError, Sharding | Steps> =>
  Effect.gen(function*() {
    // an attempt of `Activity.retry` has a result, and so a request, of its own
    const result = yield* resultOf(job).withActivityAttempt
    const token = yield* DurableDeferred.token(result)
    const client = yield* Waits.client
    // a repeated request is the same, by its token
    yield* Effect.orDie(client(bucketOf(job)).Await({ job, token }, { discard: true }))
    return yield* DurableDeferred.await(result)
  })

/**
 * Watches the jobs of suspended workflows, on a runner.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWaits: Layer.Layer<never, never, JobWatcher | Sharding | WorkflowEngine> = Waits.toLayer(
  Effect.gen(function*() {
    const watcher = yield* JobWatcher
    const engine = yield* WorkflowEngine
    return Waits.of({
      Await: ({ payload: { job, token } }) =>
        Effect.flatMap(Effect.exit(JobStream.result(job)), (exit) =>
          // an interruption would be stored as the reply; a defect handles the request again
          Exit.isInterrupted(exit)
            ? Effect.dieMessage(`The watch of ${format(job)} was interrupted`)
            : DurableDeferred.done(resultOf(job), { token, exit })).pipe(
            Effect.provideService(JobWatcher, watcher),
            Effect.provideService(WorkflowEngine, engine)
          )
    })
  }),
  { concurrency: "unbounded", mailboxCapacity: "unbounded" }
)
