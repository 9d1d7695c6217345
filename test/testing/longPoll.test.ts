import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import type { JobRef } from "../../src/model/Job.js"
import { VirtualTime } from "../../src/testing/index.js"
import * as SimulatedQueue from "../../src/testing/internal/simulatedQueue.js"
import { runs } from "../fixtures/runs.js"

type Action =
  | { readonly _tag: "Arrive"; readonly model: number; readonly patience: number; readonly timeout: number }
  | { readonly _tag: "Leave"; readonly worker: number }
  | { readonly _tag: "Submit"; readonly model: number; readonly priority: number }

const model = FastCheck.nat({ max: 1 })

const action: FastCheck.Arbitrary<readonly [after: number, action: Action]> = FastCheck.tuple(
  FastCheck.oneof(FastCheck.constant(0), FastCheck.nat({ max: 3_000 })),
  FastCheck.oneof(
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Arrive" as const),
        model,
        patience: FastCheck.constantFrom(0, 500, 5_000, 2_592_000_000),
        timeout: FastCheck.constantFrom(1, 700, 4_000, 2_592_000_000)
      })
    },
    { weight: 1, arbitrary: FastCheck.record({ _tag: FastCheck.constant("Leave" as const), worker: FastCheck.nat() }) },
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Submit" as const),
        model,
        priority: FastCheck.integer({ min: -1, max: 1 })
      })
    }
  )
)

interface Waiting {
  readonly model: string
  readonly arrived: number
  readonly patience: number
  readonly isThere: { current: boolean }
  readonly fiber: Fiber.RuntimeFiber<void>
  state: "waiting" | "served" | "empty" | "gone"
}

const play = (actions: ReadonlyArray<readonly [number, Action]>) =>
  Effect.gen(function*() {
    const queue = SimulatedQueue.make({ workers: undefined, random: Random.make("line") })
    const workers: Array<Waiting> = []
    const jobs: Array<JobRef> = []
    let served = 0
    let now = 0

    const arrive = ({ model, patience, timeout }: Extract<Action, { _tag: "Arrive" }>) =>
      Effect.gen(function*() {
        const isThere = { current: true }
        const request = { model: `model ${model}`, patience, timeout, isThere: () => isThere.current }
        const fiber = yield* queue.retrieve(request).pipe(
          Effect.flatMap((status) =>
            Effect.sync(() => {
              assert.strictEqual(worker.state, "waiting", "who has left is given nothing")
              if (Option.isNone(status)) {
                worker.state = "empty"
                return
              }
              served++
              assert.strictEqual(status.value._tag, "Running")
              assert.strictEqual(status.value.job.model, worker.model)
              worker.state = "served"
              // workers whose poll has timed out may not have ended yet
              const before = workers.slice(0, workers.indexOf(worker)).filter((other) =>
                other.model === worker.model && other.state === "waiting" && other.isThere.current &&
                other.arrived + other.patience > now
              )
              assert.isEmpty(before, "who came first is first")
            })
          ),
          Effect.fork
        )
        const worker: Waiting = { model: request.model, arrived: now, patience, isThere, fiber, state: "waiting" }
        workers.push(worker)
      })

    for (const [after, action] of actions) {
      yield* TestClock.adjust(after)
      now += after
      if (action._tag === "Arrive") yield* arrive(action)
      if (action._tag === "Submit") {
        jobs.push(yield* queue.submit({ model: `model ${action.model}`, payload: {}, priority: action.priority }))
      }
      const leaver = action._tag === "Leave" ? workers[action.worker % Math.max(1, workers.length)] : undefined
      if (leaver?.state === "waiting") {
        leaver.isThere.current = false
        leaver.state = "gone"
        yield* Fiber.interrupt(leaver.fiber)
      }
      yield* TestClock.adjust(0)
      for (const model of ["model 0", "model 1"]) {
        const { waiting } = yield* queue.metrics(model)
        const idle = workers.filter((worker) => worker.model === model && worker.state === "waiting")
        assert.isTrue(waiting === 0 || idle.length === 0, "nobody waits while there is a job")
      }
    }
    for (const { arrived, patience, state } of workers) {
      if (state === "waiting") assert.isAbove(arrived + patience, now, "nobody waits longer than asked for")
    }
    const found = yield* Effect.forEach(jobs, queue.find)
    const claims = found.flatMap((job) => Option.getOrThrow(job).history).filter(({ _tag }) => _tag === "Claimed")
    assert.strictEqual(claims.length, served, "each claim was handed to somebody")
    yield* Fiber.interruptAll(workers.map(({ fiber }) => fiber))
    for (const { fiber } of workers) assert.isTrue(Option.isSome(yield* Fiber.poll(fiber)))
    return served
  }).pipe(VirtualTime.run)

describe("waiting workers", () => {
  it("are served in order, miss no job, and claim no job after they have left", async () => {
    let served = 0
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(action, { minLength: 5, maxLength: 25, size: "max" }),
        async (actions) => {
          served += await Effect.runPromise(play(actions))
        }
      ),
      { numRuns: runs(15, 60) }
    )
    assert.isAbove(served, runs(15, 60))
  })

  it.effect("are served before a worker that polls when the job is submitted", () =>
    Effect.gen(function*() {
      const queue = SimulatedQueue.make({ workers: undefined, random: Random.make("line") })
      const retrieve = (patience: number) =>
        queue.retrieve({ model: "m", timeout: 1_000, patience, isThere: () => true })
      const waiting = yield* Effect.fork(retrieve(60_000))
      yield* TestClock.adjust(0)
      const job = yield* queue.submit({ model: "m", payload: {} })
      assert.isTrue(Option.isNone(yield* retrieve(0)))
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(waiting)).job.requestId, job.requestId)
    }))

  it.effect("are woken by an expiring claim, even if a later claim expires sooner", () =>
    Effect.gen(function*() {
      const queue = SimulatedQueue.make({ workers: undefined, random: Random.make("line") })
      const retrieve = (timeout: number, patience: number) =>
        queue.retrieve({ model: "m", timeout, patience, isThere: () => true })
      const submit = queue.submit({ model: "m", payload: {} })
      const [first] = [yield* submit]
      yield* retrieve(60_000, 0)
      const waiting = yield* Effect.fork(retrieve(1_000, 3_600_000))
      yield* TestClock.adjust("1 second")
      // only the waiting worker can claim it
      const second = yield* submit
      const served = Option.getOrThrow(yield* Fiber.join(waiting))
      assert.strictEqual(served.job.requestId, second.requestId)
      const again = yield* Effect.fork(retrieve(1_000, 3_600_000))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(again)).job.requestId, second.requestId)
      const last = yield* Effect.fork(retrieve(3_600_000, 3_600_000))
      const keeps = yield* Effect.fork(retrieve(3_600_000, 3_600_000))
      yield* TestClock.adjust("1 minute")
      const both = yield* Effect.forEach([last, keeps], Fiber.join)
      assert.sameMembers(both.map((status) => Option.getOrThrow(status).job.requestId), [
        first!.requestId,
        second.requestId
      ])
    }))
})
