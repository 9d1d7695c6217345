/** The queue in memory: `JobQueue` over the simulated queue, with faults and a log of calls. @internal */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import type { Operation, QueueError } from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import { defaultRequestTimeout } from "../../queue/internal/options.js"
import { checkModel, checkRef, checkSubmit } from "../../queue/internal/request.js"
import { fromRefusal } from "../../queue/internal/response.js"
import { CancelResult, JobQueue } from "../../queue/JobQueue.js"
import type { Service } from "../../queue/JobQueue.js"
import type { Fault } from "../Fault.js"
import type { Pool, Report, Task } from "../Worker.js"
import type { Call, Outcome } from "./call.js"
import { noSuchJob } from "./errorResponses.js"
import { applyFaults, Faults, unchanged } from "./faultInjection.js"
import type { Respond } from "./faultInjection.js"
import * as History from "./history.js"
import * as HttpResponses from "./httpResponses.js"
import * as Client from "./inProcessClient.js"
import * as SeededRandom from "./seededRandom.js"
import * as SimulatedQueue from "./simulatedQueue.js"
import { defaultClaimTimeout, taskOf } from "./workerSimulation.js"

const notFound = (operation: Operation, job: Job.JobRef): QueueError => {
  const { body, status } = noSuchJob(job)
  return fromRefusal(
    { operation, model: job.model, job },
    { httpStatus: status, text: JSON.stringify(body), httpRequestId: undefined, retryAfter: undefined },
    (text) => text
  )
}

const outcomeOf = (exit: Exit.Exit<unknown, QueueError>): Outcome =>
  Exit.match(exit, {
    onSuccess: () => "answered",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onSome: (error) => error._tag,
        onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "died"
      })
  })

/** @internal */
export const make = ({ faults: initialFaults = [], requestTimeout = defaultRequestTimeout, seed, workers }: {
  readonly workers: Pool | ReadonlyArray<Pool> | undefined
  readonly faults: ReadonlyArray<Fault> | undefined
  readonly seed: string | number
  readonly requestTimeout: Duration.DurationInput | undefined
}) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const client = yield* Effect.cached(Client.make(requestTimeout))
    const queue = SimulatedQueue.make({ workers, random: SeededRandom.make(seed), seed, recording: true })
    const responses = HttpResponses.make(queue)
    const faults = new Faults(seed, startedAt)
    for (const fault of initialFaults) faults.add(fault)
    const calls: Array<Call> = []
    const counts = { status: 0, submit: 0, cancel: 0, clear: 0, metrics: 0 }

    /** Logs a call. It runs `direct`, or `viaClient` on the response of the service if faults affect it. */
    const called = <A>(
      about: { readonly operation: Operation; readonly model: string; readonly requestId?: string },
      direct: Effect.Effect<A, QueueError>,
      respond: Respond,
      viaClient: (client: Service) => Effect.Effect<A, QueueError>
    ): Effect.Effect<A, QueueError> =>
      Clock.clockWith((clock) => {
        const { model, operation, requestId } = about
        const at = clock.unsafeCurrentTimeMillis()
        const call: Call = { operation, nth: ++counts[operation], at, model, requestId, end: undefined }
        const index = calls.push(call) - 1
        const active = faults.activeFor(call)
        return Effect.onExit(
          active.length === 0
            ? direct
            : Effect.flatMap(
              client,
              (client) => Client.withResponse(viaClient(client), applyFaults(active, respond)(unchanged))
            ),
          (exit) =>
            Effect.sync(() => {
              calls[index] = { ...call, end: { at: clock.unsafeCurrentTimeMillis(), outcome: outcomeOf(exit) } }
            })
        )
      })

    const ofJob = <A>(
      operation: "status" | "cancel",
      direct: (job: Job.JobRef) => Effect.Effect<A, QueueError>,
      viaClient: (client: Service, job: Job.JobRef) => Effect.Effect<A, QueueError>
    ) =>
    (input: Job.JobRef): Effect.Effect<A, QueueError> =>
      Effect.flatMap(
        checkRef(operation, input),
        (job) =>
          called({ operation, ...job }, direct(job), responses[operation](job), (client) => viaClient(client, job))
      )

    const ofModel = <A>(
      operation: "clear" | "metrics",
      direct: (model: string) => Effect.Effect<A>,
      viaClient: (client: Service, model: string) => Effect.Effect<A, QueueError>
    ) =>
    (input: string): Effect.Effect<A, QueueError> =>
      Effect.flatMap(
        checkModel(operation, input),
        (model) =>
          called({ operation, model }, direct(model), responses[operation](model), (client) => viaClient(client, model))
      )

    const service = JobQueue.of({
      status: ofJob(
        "status",
        (job) => Effect.flatMap(queue.status(job), Effect.mapError(() => notFound("status", job))),
        (client, job) => client.status(job)
      ),
      submit: (input) =>
        Effect.flatMap(checkSubmit(input), (request) =>
          called(
            { operation: "submit", model: request.model },
            queue.submit(request),
            responses.submit(request),
            (client) => client.submit(input)
          )),
      cancel: ofJob(
        "cancel",
        (job) =>
          Effect.map(
            Effect.flatMap(queue.cancel(job), Effect.mapError(() => notFound("cancel", job))),
            (state) => state === "pending" ? CancelResult.Canceled() : CancelResult.NotCanceled({ status: state })
          ),
        (client, job) => client.cancel(job)
      ),
      clear: ofModel("clear", queue.clear, (client, model) => client.clear(model)),
      metrics: ofModel("metrics", queue.metrics, (client, model) => client.metrics(model))
    })

    return {
      service,
      handle: {
        startedAt,
        calls: Effect.sync(() => calls.slice()),
        jobs: queue.jobs,
        transitions: (job: Job.JobRef): Effect.Effect<ReadonlyArray<Transition.Transition>> =>
          Effect.zipWith(
            queue.find(job),
            rules,
            (job, rules) =>
              Option.match(job, { onNone: () => [], onSome: (job) => History.trueTransitionsOf(job, rules) })
          ),
        inject: (fault: Fault) => Effect.sync(() => ({ remove: Effect.sync(faults.add(fault)) })),
        claim: (model: string, timeout: Duration.DurationInput = defaultClaimTimeout) =>
          Effect.map(queue.claim(model, Duration.toMillis(timeout)), Option.map(taskOf)),
        report: (worker: Job.JobRef | Task, report: Report) =>
          queue.update({
            ...("job" in worker ? { ref: worker.job, attempt: worker.attempt } : { ref: worker }),
            ...report
          })
      }
    }
  })
