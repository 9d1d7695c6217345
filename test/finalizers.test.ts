/** What a program does in a finalizer: in an uninterruptible region, whose fiber may have been interrupted. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { JobQueue, JobRun, JobStream, JobWatcher } from "../src/index.js"
import { type TestJobQueue, Worker } from "../src/testing/index.js"
import { inQueue } from "./fixtures/inQueue.js"
import { afterInterruption } from "./fixtures/interruptions.js"
import { model } from "./fixtures/job.js"

type Program = Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>

const request: JobQueue.SubmitRequest = { model, payload: {} }

const script = Worker.always(Worker.finish("1 minute", { answer: 42 }))

const options: TestJobQueue.Options = { workers: { pickup: "1 minute", script } }

const submit = JobQueue.submit(request)

const result = Effect.flatMap(submit, (job) => JobStream.result(job))

const programs: { readonly [name: string]: Program } = {
  "transitions": Effect.flatMap(submit, (job) => Stream.runCount(JobStream.transitions(job))),
  "watchAll": Stream.runCount(JobStream.watchAll(Stream.fromEffect(submit))),
  result,
  "result of a new watcher": Effect.provide(result, JobWatcher.layer()),
  "run": JobRun.run(request),
  "events of a run": Stream.runCount(JobRun.events(JobRun.run(request)))
}

describe("in the finalizer of an interrupted fiber", () => {
  for (const [name, program] of Object.entries(programs)) {
    it.effect(`${name} is the same`, () =>
      Effect.gen(function*() {
        const expected = yield* program.pipe(inQueue(options), Effect.exit)
        assert.isTrue(Exit.isSuccess(expected), String(expected))
        assert.deepStrictEqual(yield* afterInterruption(program).pipe(inQueue(options), Effect.exit), expected)
        assert.deepStrictEqual(yield* afterInterruption(inQueue(options)(program)).pipe(Effect.exit), expected)
      }))
  }
})

it.effect("in a finalizer, events that nobody reads any more interrupt the run, which releases its job", () =>
  Effect.gen(function*() {
    const releases: Array<string> = []
    const run = JobRun.run(request, { onRelease: ({ _tag }) => Effect.sync(() => void releases.push(_tag)) })
    const events = Effect.exit(Stream.runDrain(Stream.take(JobRun.events(run), 1)))
    yield* Effect.scoped(Effect.addFinalizer(() => events))
    assert.deepStrictEqual(releases, ["Canceled"])
  }).pipe(inQueue(options)))
