/**
 * The queue model and its workers under Effect's `Clock`, for the queue in memory and the emulator.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Random from "effect/Random"
import { uuidv7 } from "../../model/internal/uuid.js"
import { absent, ref } from "../../model/Job.js"
import type { JobRef, JobStatus, JsonObject } from "../../model/Job.js"
import type { Pool } from "../Worker.js"
import * as History from "./history.js"
import { LongPolls } from "./longPoll.js"
import * as Queue from "./queueModel.js"
import * as Simulation from "./workerSimulation.js"

/** @internal */
export interface SimulatedQueue {
  readonly submit: (request: {
    readonly model: string
    readonly payload: JsonObject
    readonly info?: JsonObject | null | undefined
    readonly priority?: number | null | undefined
  }) => Effect.Effect<JobRef>
  /** Returns the job as it is, or as it was `behind` milliseconds ago, if the queue records versions. */
  readonly status: (job: JobRef, behind?: number) => Effect.Effect<Option.Option<JobStatus>>
  /** Cancels a job that is pending, and returns the state before. */
  readonly cancel: (job: JobRef) => Effect.Effect<Option.Option<Queue.State>>
  readonly clear: (model: string) => Effect.Effect<number>
  readonly metrics: (model: string) => Effect.Effect<ReturnType<typeof Queue.metrics>>
  readonly claim: (model: string, timeoutMillis: number) => Effect.Effect<Option.Option<Queue.QueuedJob>>
  /** Claims the next job of a model as soon as there is one, within `patience` milliseconds. */
  readonly retrieve: (request: {
    readonly model: string
    readonly timeout: number
    readonly patience: number
    /** Whether the worker is still connected: otherwise nothing is claimed. */
    readonly isThere: () => boolean
  }) => Effect.Effect<Option.Option<JobStatus>>
  readonly update: (update: Queue.Update) => Effect.Effect<boolean>
  /** Returns the job, with its earlier versions if the queue records them. */
  readonly find: (job: JobRef) => Effect.Effect<Option.Option<Queue.QueuedJob>>
}

/** @internal */
export interface Options {
  readonly workers: Pool | ReadonlyArray<Pool> | undefined
  readonly random: Random.Random
  readonly seed?: string | number | undefined
  readonly recording?: boolean | undefined
  /** In milliseconds. Defaults to infinite. */
  readonly retention?: number | undefined
}

/** @internal */
export const make = ({ random, workers, ...options }: Options): SimulatedQueue => {
  let simulation = Simulation.make(workers, options)

  const polls = new LongPolls({
    isReady: (model) => Queue.metrics(simulation.queue, model).waiting > 0,
    nextEvent: () => Option.getOrElse(Simulation.nextEvent(simulation), () => Infinity)
  })

  const change = (after: Simulation.Simulation): void => {
    simulation = after
    polls.notify()
  }

  const modify = <A>(f: (queue: Queue.QueueModel, now: number) => readonly [Queue.QueueModel, A]): Effect.Effect<A> =>
    Clock.clockWith((clock) =>
      Effect.sync(() => {
        const [result, after] = Simulation.modify(simulation, clock.unsafeCurrentTimeMillis(), f)
        change(after)
        return result
      })
    )

  const claim = (model: string, timeout: number): Effect.Effect<Option.Option<Queue.QueuedJob>> =>
    modify((queue, now) => Queue.claim(queue, now, { model, timeout }))

  return {
    submit: (request) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const job = ref(request.model, yield* uuidv7(now, random))
        change(Simulation.submit(simulation, now, {
          ref: job,
          payload: request.payload,
          info: request.info ?? absent,
          priority: request.priority ?? 0
        }))
        return job
      }),
    status: (job, behind = 0) =>
      modify((queue, now) => [
        queue,
        Queue.get(queue, job).pipe(
          Option.flatMap((job) => behind === 0 ? Option.some(job) : History.asOf(job, now - behind)),
          Option.map(History.snapshot)
        )
      ]),
    cancel: (job) => modify((queue, now) => Queue.cancel(queue, now, job)),
    clear: (model) => modify((queue, now) => Queue.clear(queue, now, model)),
    metrics: (model) => modify((queue) => [queue, Queue.metrics(queue, model)]),
    claim,
    retrieve: ({ isThere, model, patience, timeout }) =>
      Effect.map(
        // interrupts itself if the worker has left: the server does not report the end of a pipelined request
        polls.take(model, Effect.suspend(() => isThere() ? claim(model, timeout) : Effect.interrupt), patience),
        Option.map(History.snapshot)
      ),
    update: (update) => modify((queue, now) => Queue.update(queue, now, Queue.overTheWire(update))),
    find: (job) => modify((queue) => [queue, Queue.get(queue, job)])
  }
}
