/**
 * The simulated queue under a clock: what the in-memory layer and the emulator have in common.
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
import type { Pool, Task } from "../Worker.js"
import { overTheWire } from "./json.js"
import { WaitingLine } from "./longPoll.js"
import * as Queue from "./queueModel.js"
import * as Simulation from "./workerSimulation.js"

/** @internal */
export interface LocalQueue {
  readonly submit: (request: {
    readonly model: string
    readonly payload: JsonObject
    readonly info?: JsonObject | null | undefined
    readonly priority?: number | null | undefined
  }) => Effect.Effect<JobRef>
  /** As it is, or as it was so many milliseconds ago (where the queue records that). */
  readonly status: (job: JobRef, behind?: number) => Effect.Effect<Option.Option<JobStatus>>
  /** The state that the job was in: it is canceled now if that was `pending`. */
  readonly cancel: (job: JobRef) => Effect.Effect<Option.Option<Queue.State>>
  readonly clear: (model: string) => Effect.Effect<number>
  readonly metrics: (
    model: string
  ) => Effect.Effect<{ readonly running: number; readonly waiting: number; readonly total: number }>
  readonly claim: (model: string, timeoutMillis: number) => Effect.Effect<Option.Option<Task>>
  /** Claims the next job of a model as soon as there is one, within `patience` milliseconds, and gives it as it is then. */
  readonly retrieve: (request: {
    readonly model: string
    readonly timeout: number
    readonly patience: number
    /** Whether whoever asked is still there: nothing is claimed for one who has left. */
    readonly isThere: () => boolean
  }) => Effect.Effect<Option.Option<JobStatus>>
  readonly update: (update: Queue.Update) => Effect.Effect<boolean>
  /** The job, with all that it was until now (where the queue records that). */
  readonly find: (job: JobRef) => Effect.Effect<Option.Option<Queue.QueuedJob>>
}

/** @internal */
export interface Options {
  readonly workers: Pool | ReadonlyArray<Pool> | undefined
  readonly random: Random.Random
  readonly seed?: string | number | undefined
  readonly recording?: boolean | undefined
  /** In milliseconds; for ever, unless given. */
  readonly retention?: number | undefined
}

/** @internal */
export const make = ({ random, recording, retention, seed, workers }: Options): LocalQueue => {
  let simulation = Simulation.make(workers, { seed, recording, retention })

  const line = new WaitingLine({
    isReady: (model) => Queue.metrics(simulation.queue, model).waiting > 0,
    nextEvent: () => Option.getOrElse(Simulation.nextEvent(simulation), () => Infinity)
  })

  const change = (after: Simulation.Simulation): void => {
    simulation = after
    line.notify()
  }

  const modify = <A>(f: (queue: Queue.QueueModel, now: number) => readonly [Queue.QueueModel, A]): Effect.Effect<A> =>
    Clock.clockWith((clock) =>
      Effect.sync(() => {
        const [answer, after] = Simulation.modify(simulation, clock.unsafeCurrentTimeMillis(), f)
        change(after)
        return answer
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
          Option.flatMap((job) => behind === 0 ? Option.some(job) : Queue.asOf(job, now - behind)),
          Option.map(Queue.snapshot)
        )
      ]),
    cancel: (job) => modify((queue, now) => Queue.cancel(queue, now, job)),
    clear: (model) => modify((queue, now) => Queue.clear(queue, now, model)),
    metrics: (model) => modify((queue) => [queue, Queue.metrics(queue, model)]),
    claim: (model, timeout) =>
      Effect.map(
        claim(model, timeout),
        Option.map((job): Task => ({
          job: job.ref,
          nth: job.place.number + 1,
          attempt: job.retries + 1,
          payload: job.inputs,
          info: job.info
        }))
      ),
    retrieve: ({ isThere, model, patience, timeout }) =>
      Effect.map(
        // nobody need tell of the end of one who is gone: that of a pipelined request is heard of by no one else
        line.take(model, Effect.suspend(() => isThere() ? claim(model, timeout) : Effect.interrupt), patience),
        Option.map(Queue.snapshot)
      ),
    update: (update) => modify((queue, now) => Queue.update(queue, now, overTheWire(update))),
    find: (job) => modify((queue) => [queue, Queue.get(queue, job)])
  }
}
