/** The queue in memory: `JobQueue` over the simulated queue, with faults and a log of calls. @internal */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { rules } from "../../model/internal/rules.js"
import { steady } from "../../model/internal/time.js"
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
import { Faults, respondWith } from "./fault.js"
import type { Call, CallInput, Outcome, Respond } from "./fault.js"
import { trueTransitionsOf } from "./history.js"
import * as HttpResponses from "./httpResponses.js"
import * as Client from "./inProcessClient.js"
import * as SeededRandom from "./seededRandom.js"
import * as SimulatedQueue from "./simulatedQueue.js"
import { noSuchJob } from "./wireResponse.js"
import { defaultClaimTimeout, taskOf } from "./workerSimulation.js"

const notFound = (operation: Operation, job: Job.JobRef): QueueError => {
  const { body: text, status: httpStatus } = noSuchJob(job)
  return fromRefusal(
    { operation, model: job.model, job },
    { httpStatus, text, httpRequestId: undefined, retryAfter: undefined },
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

/** The queue without faults and without a log of calls. Its requests were checked before. */
const makeDirect = (queue: SimulatedQueue.SimulatedQueue): Service => ({
  status: (job) => Effect.flatMap(queue.status(job), Effect.mapError(() => notFound("status", job))),
  // the type of a service does not show that a payload was checked
  submit: (request) => queue.submit(request as Parameters<typeof queue.submit>[0]),
  cancel: (job) =>
    Effect.map(
      Effect.flatMap(queue.cancel(job), Effect.mapError(() => notFound("cancel", job))),
      (state) => state === "pending" ? CancelResult.Canceled() : CancelResult.NotCanceled({ status: state })
    ),
  clear: queue.clear,
  metrics: queue.metrics
})

/** @internal */
export const make = ({ faults: initialFaults = [], requestTimeout = defaultRequestTimeout, seed, workers }: {
  readonly workers?: Pool | ReadonlyArray<Pool> | undefined
  readonly faults?: ReadonlyArray<Fault> | undefined
  readonly seed: string | number
  readonly requestTimeout?: Duration.DurationInput | undefined
}) =>
  Effect.gen(function*() {
    const startedAt = steady(yield* Effect.clock).time
    let made: Client.Client | undefined
    // not `Effect.cached`, which gives each call the interruption of the first one, or waits for its end
    const client = Effect.suspend(() =>
      made === undefined ? Effect.map(Client.make(requestTimeout), (client) => made = client) : Effect.succeed(made)
    )
    const queue = SimulatedQueue.make({ workers, random: SeededRandom.make(seed), seed, recording: true })
    const direct = makeDirect(queue)
    const responses = HttpResponses.make(queue)
    const faults = new Faults(seed, startedAt)
    for (const fault of initialFaults) faults.add(fault)
    const calls: Array<Call> = []

    /**
     * Makes a call of a valid input, and logs it. It goes to the queue or, if faults affect it, through the client to the
     * response of the service.
     */
    const called = <A, Input extends CallInput>(
      operation: Operation,
      checked: Effect.Effect<Input, QueueError>,
      respond: (input: Input) => Respond,
      method: (queue: Service) => (input: Input) => Effect.Effect<A, QueueError>
    ): Effect.Effect<A, QueueError> =>
      Effect.flatMap(Effect.zip(checked, Effect.clock), ([input, clock]) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            const { active, call } = faults.begin(operation, input, steady(clock).time)
            return { active, call, index: calls.push(call) - 1 }
          }),
          ({ active }) =>
            active.length === 0
              ? method(direct)(input)
              : Effect.flatMap(
                client,
                (run) => run((queue) => method(queue)(input), respondWith(active, respond(input)))
              ),
          ({ call, index }, exit) =>
            Effect.sync(() => {
              calls[index] = { ...call, end: { at: steady(clock).time, outcome: outcomeOf(exit) } }
            })
        ))

    const service = JobQueue.of({
      status: (input) => called("status", checkRef("status", input), responses.status, (queue) => queue.status),
      submit: (input) => called("submit", checkSubmit(input), responses.submit, (queue) => queue.submit),
      cancel: (input) => called("cancel", checkRef("cancel", input), responses.cancel, (queue) => queue.cancel),
      clear: (input) => called("clear", checkModel("clear", input), responses.clear, (queue) => queue.clear),
      metrics: (input) => called("metrics", checkModel("metrics", input), responses.metrics, (queue) => queue.metrics)
    })

    const handle = {
      startedAt,
      calls: Effect.sync(() => calls.slice()),
      jobs: queue.jobs,
      transitions: (job: Job.JobRef): Effect.Effect<ReadonlyArray<Transition.Transition>> =>
        Effect.zipWith(
          queue.find(job),
          rules,
          (found, rules) => Option.match(found, { onNone: () => [], onSome: (job) => trueTransitionsOf(job, rules) })
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

    return { service, handle }
  })
