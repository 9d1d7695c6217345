/** The queue model and its workers under Effect's `Clock`, for the queue in memory and the emulator. @internal */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Random from "effect/Random"
import { steady } from "../../model/internal/time.js"
import { uuidv7 } from "../../model/internal/uuid.js"
import { absent, ref } from "../../model/Job.js"
import type { JobRef } from "../../model/Job.js"
import type { SubmitRequest } from "../../queue/internal/wire.js"
import type { Pool } from "../Worker.js"
import * as History from "./history.js"
import { LongPolls } from "./longPoll.js"
import * as Queue from "./queueModel.js"
import * as Simulation from "./workerSimulation.js"

/** @internal */
export type SimulatedQueue = ReturnType<typeof make>

/** @internal */
export const make = ({ random, workers, ...options }: {
  readonly workers: Pool | ReadonlyArray<Pool> | undefined
  readonly random: Random.Random
} & Simulation.Options) => {
  let simulation = Simulation.make(workers, options)

  const polls = new LongPolls({
    isReady: (model) => Queue.metrics(simulation.queue, model).waiting > 0,
    nextEvent: () => Simulation.nextEvent(simulation)
  })

  const change = (after: Simulation.Simulation): void => {
    simulation = after
    polls.notify()
  }

  /** The simulation with the dates of a time, and the time. */
  const at = ({ date, time }: ReturnType<typeof steady>): readonly [Simulation.Simulation, now: number] => [
    { ...simulation, queue: { ...simulation.queue, shift: date - time } },
    time
  ]

  const modify = <A>(f: (queue: Queue.QueueModel, now: number) => readonly [Queue.QueueModel, A]): Effect.Effect<A> =>
    Clock.clockWith((clock) =>
      Effect.sync(() => {
        const [result, after] = Simulation.modify(...at(steady(clock)), f)
        change(after)
        return result
      })
    )

  const claim = (model: string, timeout: number) => modify((queue, now) => Queue.claim(queue, now, { model, timeout }))

  return {
    submit: ({ info, model, payload, priority }: typeof SubmitRequest.Type) =>
      Effect.gen(function*() {
        const now = steady(yield* Effect.clock)
        const job = ref(model, yield* uuidv7(now.date, random))
        const request = { ref: job, payload, info: info ?? absent, priority: priority ?? 0 }
        change(Simulation.submit(...at(now), request))
        return job
      }),
    /** Returns the job as it is, or as it was `behind` milliseconds ago, if the queue records versions. */
    status: (job: JobRef, behind = 0) =>
      modify((queue, now) => [
        queue,
        Queue.get(queue, job).pipe(
          Option.flatMap((job) => History.asOf(job, now - behind)),
          Option.map(History.snapshot)
        )
      ]),
    cancel: (job: JobRef) => modify((queue, now) => Queue.cancel(queue, now, job)),
    clear: (model: string) => modify((queue, now) => Queue.clear(queue, now, model)),
    metrics: (model: string) => modify((queue) => [queue, Queue.metrics(queue, model)]),
    claim,
    /** Claims the next job of a model as soon as there is one, within `patience` milliseconds. */
    retrieve: ({ isThere, model, patience, timeout }: {
      readonly model: string
      readonly timeout: number
      readonly patience: number
      /** Whether the worker is still connected: otherwise nothing is claimed. */
      readonly isThere: () => boolean
    }) =>
      Effect.map(
        // interrupts itself if the worker has left: the server does not report the end of a pipelined request
        polls.take(model, Effect.suspend(() => isThere() ? claim(model, timeout) : Effect.interrupt), patience),
        Option.map(History.snapshot)
      ),
    update: (update: Queue.Update) => modify((queue, now) => Queue.update(queue, now, Queue.overTheWire(update))),
    /** Returns the job, with its earlier versions if the queue records them. */
    find: (job: JobRef) => modify((queue) => [queue, Queue.get(queue, job)]),
    /** Returns every job, in the order of submission. */
    jobs: modify((queue) => [queue, Queue.jobs(queue)])
  }
}
