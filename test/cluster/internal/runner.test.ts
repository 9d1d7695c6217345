import * as TestRunner from "@effect/cluster/TestRunner"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import { makeRunner } from "../../../src/cluster/internal/runner.js"
import { Job, JobQueue } from "../../../src/index.js"
import { interruptedAnywhere } from "../../fixtures/interruptions.js"

const queue = Layer.mock(JobQueue.JobQueue, { status: (job) => Effect.succeed(Job.Pending({ job })) })

it.effect("polls a job, wherever the first request for it was interrupted", () =>
  Effect.gen(function*() {
    yield* TestClock.adjust("1 second")
    const handlers = yield* makeRunner({})
    const unanswered: Array<number> = []
    // of a request the handler reads the payload alone
    const status = (nth: number) =>
      handlers.Status(
        { payload: { job: Job.ref("my-org/video-generator", String(nth)) } } as Parameters<typeof handlers.Status>[0]
      )
    yield* interruptedAnywhere(status, (nth) =>
      Effect.gen(function*() {
        const again = yield* Effect.fork(status(nth))
        yield* TestClock.adjust("10 millis")
        if (again.unsafePoll() === null) unanswered.push(nth)
      }))
    assert.deepStrictEqual(unanswered, [])
  }).pipe(Effect.scoped, Effect.provide(Layer.merge(queue, TestRunner.layer))))
