/** The effects of worker reports on a job. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Job from "../../../src/model/Job.js"
import * as JobQueue from "../../../src/queue/JobQueue.js"
import * as Worker from "../../../src/testing/Worker.js"
import { workersByPayload } from "./calls.js"
import { Difference, expect, expectThat, notCanceled, pool, spec, view } from "./harness.js"
import type { Spec } from "./harness.js"

const reporting = pool(({ payload }) => [
  Worker.heartbeat("5 millis", { note: "the worker's" }),
  Worker.progress("5 millis", 0.5),
  ...(payload["do"] === "hold" ? [] : [Worker.progress("5 millis", 1)]),
  Worker.finish(payload["do"] === "hold" ? "1 hour" : 0, {
    video_url: "https://example.com/cat.mp4",
    frames: [1, 2]
  })
])

/** Checks that the times of a snapshot are in order. */
const expectTimes = ({ claimedAt, createdAt, doneAt }: ReturnType<typeof view>) =>
  expectThat(
    "the times of creation, claim and end",
    [createdAt, claimedAt, doneAt],
    createdAt !== null && claimedAt !== null && createdAt <= claimedAt && (doneAt === null || claimedAt <= doneAt),
    "one after the other"
  )

const priorities = [0, 5, -1, 5, 0, Number.MIN_SAFE_INTEGER, 5, 1]

export const workers: ReadonlyArray<Spec> = [
  spec(
    "workers: take the highest priority first, and of equals the oldest",
    ({ model, until, untilOver }) =>
      Effect.gen(function*() {
        const submit = (name: string, priority: number, hold: number) =>
          Effect.map(
            JobQueue.submit({ model, payload: { hold }, info: { name }, priority }),
            (job) => ({ name, job })
          )
        // The first job keeps the only worker busy while the others are submitted, for as long as that takes.
        for (let hold = 100; hold <= 10_000; hold *= 2) {
          const first = yield* submit("first", 9, hold)
          yield* until(first.job, "claimed", ({ _tag }) => _tag !== "Pending")
          const jobs = yield* Effect.forEach(priorities, (priority, i) => submit(`${priority} #${i}`, priority, 1))
          const { _tag } = yield* JobQueue.status(first.job)
          const claimed: Array<readonly [name: string, at: number]> = []
          for (const { job, name } of jobs) claimed.push([name, view(yield* untilOver(job)).claimedAt ?? Number.NaN])
          if (_tag !== "Running") continue // too slow: the jobs were not all pending at once
          return yield* expect(
            "the jobs as they were claimed",
            claimed.sort(Order.mapInput(Order.number, ([, at]) => at)).map(([name]) => name),
            ["5 #1", "5 #3", "5 #6", "1 #7", "0 #0", "0 #4", "-1 #2", `${Number.MIN_SAFE_INTEGER} #5`]
          )
        }
        return yield* new Difference({
          what: "eight submits while a job runs",
          expected: "ten seconds are enough",
          actual: "they are not"
        })
      }),
    pool(({ payload }) => [Worker.finish(Number(payload["hold"]))])
  ),

  spec(
    "workers: report progress, which adds to the info",
    ({ model, until }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: { do: "hold" }, info: { user_id: "u", note: "mine" } })
        const halfway = view(yield* until(job, "halfway", ({ info }) => info["progress"] === 0.5))
        yield* expectTimes(halfway)
        yield* expect("the status of a job that runs", halfway, {
          tag: "Running",
          model,
          requestId: job.requestId,
          createdAt: halfway.createdAt,
          claimedAt: halfway.claimedAt,
          doneAt: null,
          info: { user_id: "u", note: "the worker's", progress: 0.5 },
          inputs: { do: "hold" },
          outputs: {},
          priority: 0,
          retries: 0,
          warnings: []
        })
      }),
    reporting
  ),

  spec(
    "workers: finish with outputs",
    ({ model, untilOver }) =>
      Effect.gen(function*() {
        const info = { user_id: "u", note: "mine" }
        const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" }, info })
        const done = view(yield* untilOver(job))
        yield* expectTimes(done)
        yield* expect("the status of a job that is done", done, {
          tag: "Done",
          model,
          requestId: job.requestId,
          createdAt: done.createdAt,
          claimedAt: done.claimedAt,
          doneAt: (done.claimedAt ?? 0) + 15,
          info: { user_id: "u", note: "the worker's", progress: 1 },
          inputs: { prompt: "a cat" },
          outputs: { video_url: "https://example.com/cat.mp4", frames: [1, 2] },
          priority: 0,
          retries: 0,
          warnings: []
        })
      }),
    reporting
  ),

  spec(
    "workers: fail with a reason, which is in the info, and the job is not tried again",
    ({ model, untilOver }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: { do: "fail" }, info: { user_id: "u" } })
        const status = yield* untilOver(job)
        const failed = view(status)
        yield* expectTimes(failed)
        yield* expect("the status of a job that has failed", failed, {
          tag: "Failed",
          model,
          requestId: job.requestId,
          createdAt: failed.createdAt,
          claimedAt: failed.claimedAt,
          doneAt: (failed.claimedAt ?? 0) + 5,
          info: { user_id: "u", error: "CUDA out of memory" },
          inputs: { do: "fail" },
          outputs: {},
          priority: 0,
          retries: 0,
          warnings: []
        })
        yield* expect("why it failed", Option.getOrNull(Job.failureReason(status)), "CUDA out of memory")
      }),
    pool(workersByPayload)
  ),

  spec(
    "workers: that die lose the job to another one, and what they noted stays",
    ({ model, untilOver }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {}, info: { user_id: "u" } })
        const { claimedAt, createdAt, info, outputs, retries, tag } = view(yield* untilOver(job))
        yield* expect("the job after two deaths", { tag, retries, info, outputs }, {
          tag: "Done",
          retries: 2,
          info: { user_id: "u", attempt1: true, attempt2: true, attempt3: true },
          outputs: { by: 3 }
        })
        const waited = (claimedAt ?? Number.NaN) - (createdAt ?? Number.NaN)
        yield* expectThat("from its creation to the last claim", waited, waited >= 40, "two claims of 20 ms and more")
      }),
    pool(({ attempt }) => [
      Worker.heartbeat(0, { [`attempt${attempt}`]: true }),
      ...(attempt === 3 ? [Worker.finish(0, { by: attempt })] : [])
    ], { claimTimeout: "20 millis" })
  ),

  spec(
    "workers: that all die use up four attempts, and the job fails without a reason",
    ({ model, until }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        const seen: Array<ReturnType<typeof view>> = []
        const status = yield* until(job, "over", (status) => {
          seen.push(view(status))
          return Job.isTerminal(status)
        })
        const retries = seen.map((now) => now.retries ?? 0)
        yield* expect("the retries that were seen, which never go back", retries, [...retries].sort(Order.number))
        yield* expect(
          "the claims of a job that waits",
          seen.filter(({ claimedAt, tag }) => tag === "Pending" && claimedAt !== null),
          []
        )
        const failed = view(status)
        yield* expectTimes(failed)
        yield* expect("the job after four deaths", failed, {
          ...failed,
          tag: "Failed",
          retries: 3,
          info: { attempts: 4 },
          outputs: {},
          doneAt: (failed.claimedAt ?? 0) + 20
        })
        const waited = (failed.claimedAt ?? Number.NaN) - (failed.createdAt ?? Number.NaN)
        yield* expectThat("from its creation to the last claim", waited, waited >= 60, "three claims of 20 ms and more")
        yield* expect("why it failed", Option.getOrNull(Job.failureReason(status)), null)
        yield* expect("cancel of it", yield* JobQueue.cancel(job), notCanceled("failed"))
        yield* expect("the metrics", yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
      }),
    pool(({ attempt }) => [Worker.heartbeat(0, { attempts: attempt })], { claimTimeout: "20 millis" })
  ),

  spec(
    "workers: that are slow but send signs of life keep the job",
    ({ model, untilOver }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        const { claimedAt, doneAt, retries, tag } = view(yield* untilOver(job))
        yield* expect("the job", { tag, retries, doneAt }, { tag: "Done", retries: 0, doneAt: (claimedAt ?? 0) + 90 })
      }),
    pool(
      Worker.always(Worker.heartbeat("30 millis"), Worker.heartbeat("30 millis"), Worker.finish("30 millis")),
      { claimTimeout: "40 millis" }
    )
  )
]
