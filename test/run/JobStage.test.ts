import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Job, JobQueue, JobRun, JobStage, JobStream, Transition } from "../../src/index.js"
import { Arbitraries, Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { inQueue } from "../fixtures/inQueue.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const image = JobStage.make("image", {
  model: "my-org/image",
  payload: Schema.Struct({ prompt: Schema.String, seed: Schema.NumberFromString }),
  outputs: Schema.Struct({ url: Schema.String, width: Schema.NumberFromString }),
  info: { user: "u1" },
  priority: 2
})

const video = JobStage.make("video", {
  model: "my-org/video",
  payload: Schema.Struct({ image: Schema.String }),
  outputs: Schema.Struct({ video: Schema.String })
})

const workers: Worker.Pool = {
  script: ({ job, payload }) => [
    Worker.finish(
      "10 seconds",
      job.model === "my-org/image"
        ? { url: `${payload["prompt"]}.png`, width: "1024" }
        : { video: `${payload["image"]}.mp4` }
    )
  ]
}

describe("a stage", () => {
  it.effect("encodes its payload, and decodes its outputs", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* image({ prompt: "a cat", seed: 42 }), { url: "a cat.png", width: 1024 })
      const [job] = yield* TestJobQueue.jobs
      const { info, inputs, priority } = yield* JobQueue.status(job!)
      assert.deepStrictEqual([inputs, info["user"]], [{ prompt: "a cat", seed: "42" }, "u1"])
      deepStrictEqual(priority, Option.some(2))
    }).pipe(inQueue({ workers })))

  it.effect("composes like any effect: the outputs of one stage are the payload of the next", () =>
    Effect.gen(function*() {
      const film = (prompt: string) =>
        image({ prompt, seed: 1 }).pipe(
          Effect.filterOrFail(({ width }) => width >= 1024, () => "too small"),
          Effect.flatMap(({ url }) => video({ image: url }))
        )
      assert.deepStrictEqual(yield* film("a cat"), { video: "a cat.png.mp4" })
      yield* TestJobQueue.expectJobs(2)
    }).pipe(inQueue({ workers })))

  it.effect("has its name in its events", () =>
    Effect.gen(function*() {
      const pipeline = Effect.flatMap(image({ prompt: "a cat", seed: 1 }), ({ url }) => video({ image: url }))
      const events = yield* Stream.runCollect(JobRun.events(pipeline))
      const seenEvents = Chunk.toReadonlyArray(events).map((event) =>
        event._tag === "Succeeded" ? event.value.video : `${Option.getOrElse(event.stage, () => "?")} ${event._tag}`
      )
      assert.deepStrictEqual(seenEvents, [
        ...["image", "video"].flatMap((stage) => [`${stage} Submitted`, ...Array(3).fill(`${stage} Observed`)]),
        "a cat.png.mp4"
      ])
      const late = yield* Stream.runCollect(JobRun.events(Effect.timeoutOption(video({ image: "" }), "1 second")))
      assert(Array.from(late).some((event) => event._tag === "Released" && Option.contains(event.stage, "video")))
    }).pipe(inQueue({ workers })))

  it.effect("does not submit a payload that can't be encoded", () =>
    Effect.gen(function*() {
      const strict = JobStage.make("strict", {
        model: "my-org/image",
        payload: Schema.Struct({ steps: Schema.Int.pipe(Schema.between(1, 50)) }),
        outputs: Schema.Struct({})
      })
      const error = yield* Effect.flip(strict({ steps: 51 }))
      assert.deepStrictEqual([error.stage, error.job, error.cursor], ["strict", undefined, undefined])
      assert(error.error._tag === "InvalidRequest")
      assert.strictEqual(
        error.message,
        "stage strict: submit my-org/image: not sent, the request is invalid: " +
          "payload: steps: Expected a number between 1 and 50, actual 51"
      )
      yield* TestJobQueue.expectJobs(0)
    }).pipe(inQueue({ workers })))

  it.effect("names the job whose outputs do not match the schema", () =>
    Effect.gen(function*() {
      const odd = JobStage.make("odd", {
        model: "my-org/image",
        payload: Schema.Struct({}),
        outputs: Schema.Struct({ url: Schema.Int, width: Schema.Int })
      })
      const error = yield* Effect.flip(odd({}))
      const [job] = yield* TestJobQueue.jobs
      assert.deepStrictEqual(error.job, job)
      assert(error.error._tag === "InvalidOutputs")
      assert.match(error.error.issue, /url: .*; width: /) // all issues
      assert.strictEqual(error.cursor?.phase, "Ended")
      const name = Job.format(error.job!)
      assert.match(error.message, /^stage odd: my-org\/image\//)
      assert.lengthOf(error.message.split(name), 2, "it names the job once")
    }).pipe(inQueue({ workers })))

  it.effect("has the last cursor in its error also after trouble", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(video({ image: "" }, { retry: Schedule.recurs(1) }))
      assert.deepStrictEqual([error.error._tag, error.cursor?.phase], ["Unavailable", "Queued"])
    }).pipe(inQueue({ faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.nth(2, 9))] })))

  it.effect("has no cursor of an earlier job in its error", () =>
    Effect.gen(function*() {
      const stubborn = JobStage.make("stubborn", {
        model: "my-org/image",
        payload: Schema.Struct({}),
        outputs: Schema.Struct({}),
        options: { resubmit: Schedule.recurs(1), retry: Schedule.stop }
      })
      // the first job was seen to its end, the second never
      let first: string | undefined
      const isSecond = ({ requestId }: { readonly requestId: string | undefined }) =>
        requestId !== (first ??= requestId)
      const queue = yield* TestJobQueue.TestJobQueue
      yield* queue.inject(Fault.unauthorized.pipe(Fault.on("status"), Fault.where(isSecond)))
      const error = yield* Effect.flip(stubborn({}))
      const jobs = yield* TestJobQueue.jobs
      assert.deepStrictEqual([error.error._tag, error.job, error.cursor], ["AccessDenied", jobs[1], undefined])
    }).pipe(inQueue({
      workers: { claimTimeout: "1 second", script: Worker.always(Worker.stopResponding) }
    })))

  it.effect("runs with its own options", () =>
    Effect.gen(function*() {
      const stubborn = JobStage.make("stubborn", {
        model: "my-org/image",
        payload: Schema.Struct({}),
        outputs: Schema.Struct({}),
        options: { resubmit: Schedule.recurs(1) }
      })
      const error = yield* Effect.flip(stubborn({}, { key: "order-17", resubmit: undefined }))
      assert.strictEqual(error.error._tag, "JobRetriesExhausted")
      const jobs = yield* Effect.flatMap(TestJobQueue.jobs, Effect.forEach((job) => JobQueue.status(job)))
      assert.deepStrictEqual(jobs.map(({ info }) => info["client_key"]), ["order-17", "order-17/2"])
      // the last one, not the first
      assert.deepStrictEqual(error.job, jobs[1]?.job)
    }).pipe(inQueue({ workers: { claimTimeout: "1 second", script: Worker.always(Worker.stopResponding) } })))

  it("law: the error of a pipeline has the stage, the job, and a cursor from which the rest is seen", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        Arbitraries.pool,
        FastCheck.option(FastCheck.integer({ min: 1, max: 12 }), { nil: undefined }),
        async (first, second, gone) => {
          const stage = (name: string, model: string) =>
            JobStage.make(name, {
              model,
              payload: Schema.Struct({}),
              outputs: Schema.Struct({}),
              options: { onInterrupt: "leave", retry: Schedule.stop }
            })
          const first_ = stage("first", "my-org/image")
          const second_ = stage("second", "my-org/video")
          await Effect.gen(function*() {
            const queue = yield* TestJobQueue.TestJobQueue
            const seen: Array<Transition.Transition> = []
            const outcome = yield* JobRun.events(Effect.flatMap(first_({}), second_)).pipe(
              Stream.runForEach((event) =>
                Effect.sync(() => {
                  if (event._tag === "Submitted") seen.length = 0
                  if (event._tag === "Observed" && event.event._tag !== "Trouble" && event.event._tag !== "Recovered") {
                    seen.push(event.event)
                  }
                })
              ),
              Effect.either
            )
            const jobs = yield* queue.jobs
            if (Either.isRight(outcome)) {
              assert.strictEqual(jobs.length, 2)
              return note("done")
            }
            const { cursor, error, job, stage } = outcome.left
            assert.strictEqual(stage, jobs.length === 1 ? "first" : "second")
            assert.deepStrictEqual(job, jobs.at(-1))
            assert.include(outcome.left.message, stage)
            assert.include(outcome.left.message, error.message)
            if (cursor === undefined) {
              assert.strictEqual(seen.length, 0)
              return note("failed before anything was seen")
            }
            assert.include(outcome.left.message, Transition.formatCursor(cursor))
            // after a round trip through JSON, the watch resumes from the cursor
            const back = Schema.decodeUnknownSync(JobStage.StageFailed)(
              JSON.parse(JSON.stringify(Schema.encodeSync(JobStage.StageFailed)(outcome.left)))
            )
            const rest = yield* Stream.runCollect(
              JobStream.transitions(job!, { from: back.cursor!, retry: Schedule.recurs(20) })
            )
            const all = [...seen, ...rest]
            assert.isTrue(Transition.isTerminal(all.at(-1)!))
            yield* TestJobQueue.expectMatchesHistory(job!, all)
            note(cursor.phase === "Ended" ? "failed at the end" : "failed on the way")
          }).pipe(
            inQueue({
              workers: [{ ...first, model: "my-org/image" }, { ...second, model: "my-org/video" }],
              faults: gone === undefined
                ? []
                : [Fault.unauthorized.pipe(Fault.on("status"), Fault.nth(gone))]
            }),
            Effect.runPromise
          )
        }
      ),
      { numRuns: runs(40, 80) }
    )
    met("done", "failed before anything was seen", "failed at the end", "failed on the way")
  })
})
