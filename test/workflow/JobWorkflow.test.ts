import * as ClusterWorkflowEngine from "@effect/cluster/ClusterWorkflowEngine"
import { Sharding } from "@effect/cluster/Sharding"
import * as TestRunner from "@effect/cluster/TestRunner"
import { assert, describe, it } from "@effect/vitest"
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import * as WorkflowEngine from "@effect/workflow/WorkflowEngine"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { ClusterWatcher } from "../../src/cluster/index.js"
import { Job, JobQueue, JobWatcher, QueueError } from "../../src/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { JobWorkflow } from "../../src/workflow/index.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import { model } from "../fixtures/job.js"

const Error = Schema.Union(QueueError.SubmitError, QueueError.WatchError, QueueError.OutcomeError)

const options = {
  payload: { prompt: Schema.String },
  success: Job.JsonObject,
  error: Error,
  idempotencyKey: ({ prompt }: { readonly prompt: string }) => prompt,
  suspendedRetrySchedule: Schedule.spaced("1 second")
}

/** A pipeline of two stages. */
const Film = Workflow.make({ name: "Film", ...options })

const film = <R>(
  awaitJob: (job: Job.JobRef) => Effect.Effect<Job.JsonObject, QueueError.WatchError | QueueError.OutcomeError, R>
) =>
  Film.toLayer(({ prompt }) =>
    Effect.gen(function*() {
      const image = yield* JobWorkflow.submitOnce("image", { model, payload: { prompt } })
      const { answer } = yield* awaitJob(image)
      const video = yield* JobWorkflow.submitOnce("video", { model, payload: { answer } })
      return yield* awaitJob(video)
    })
  )

const queue = TestJobQueue.layer({
  workers: {
    pickup: "100 millis",
    script: ({ payload }) => [Worker.finish("1 second", { answer: payload["prompt"] ?? `${payload["answer"]}!` })]
  }
})

/** Runs the workflow, with time that moves until it has ended: an engine hashes its key, which takes turns of the host. */
const runFilm = (poll: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(Film.execute({ prompt: "cat" }))
    while (Option.isNone(yield* Fiber.poll(fiber))) {
      yield* TestClock.adjust("500 millis")
      yield* poll
    }
    assert.deepStrictEqual(yield* Fiber.join(fiber), { answer: "cat!" })
    assert.strictEqual((yield* TestJobQueue.counts).submit, 2)
  })

it.effect("an engine that stops waits for the response to a submit", () => {
  const Submit = Workflow.make({ name: "Submit", ...options, success: Job.JobRef, error: QueueError.SubmitError })
  return Effect.gen(function*() {
    const [begun, response] = [yield* Effect.makeLatch(), yield* Effect.makeLatch()]
    let hasResponse = false
    const slow = Layer.mock(JobQueue.JobQueue, {
      submit: ({ model }) =>
        begun.open.pipe(
          Effect.zipRight(response.await),
          Effect.map(() => {
            hasResponse = true
            return Job.ref(model, "one")
          })
        )
    })
    const scope = yield* Scope.make()
    const engine = yield* Submit.toLayer(() => JobWorkflow.submitOnce("image", { model, payload: {} })).pipe(
      Layer.provideMerge(WorkflowEngine.layerMemory),
      Layer.provide(slow),
      Layer.buildWithScope(scope)
    )
    yield* Effect.fork(Effect.provide(Submit.execute({ prompt: "cat" }), engine))
    yield* begun.await
    const stop = yield* Effect.fork(Scope.close(scope, Exit.void))
    yield* Effect.yieldNow()
    yield* response.open
    yield* Fiber.join(stop)
    assert.isTrue(hasResponse)
  })
})

it.effect("submitOnce under Activity.retry submits again, with another key", () => {
  const keys: Array<unknown> = []
  const Submit = Workflow.make({ name: "Submit", ...options, success: Job.JobRef, error: QueueError.SubmitError })
  const failing = Layer.mock(JobQueue.JobQueue, {
    submit: ({ info, model }) =>
      Effect.suspend(() =>
        keys.push((info as Job.JsonObject)["client_key"]) === 1
          ? Effect.fail(new QueueError.Unavailable({ operation: "submit", model, httpStatus: 503, detail: "busy" }))
          : Effect.succeed(Job.ref(model, "one"))
      )
  })
  return Effect.gen(function*() {
    const job = yield* Submit.execute({ prompt: "cat" })
    assert.strictEqual(job.requestId, "one")
    assert.strictEqual(new Set(keys).size, 2)
  }).pipe(Effect.provide(
    Submit.toLayer(() => Activity.retry(JobWorkflow.submitOnce("image", { model, payload: {} }), { times: 1 })).pipe(
      Layer.provideMerge(WorkflowEngine.layerMemory),
      Layer.provide(failing)
    )
  ))
})

it.effect("submitOnce submits again when a workflow is resumed that its failure suspended", () => {
  const Submit = Workflow.make({ name: "Submit", ...options, success: Job.JobRef, error: QueueError.SubmitError })
    .annotate(Workflow.SuspendOnFailure, true)
  let calls = 0
  const denied = new QueueError.AccessDenied({ operation: "submit", model, httpStatus: 401, detail: "expired" })
  const queue = Layer.mock(JobQueue.JobQueue, {
    submit: ({ model }) => Effect.suspend(() => calls++ === 0 ? denied : Effect.succeed(Job.ref(model, "one")))
  })
  return Effect.gen(function*() {
    const id = yield* Submit.execute({ prompt: "cat" }, { discard: true })
    const result = Effect.repeat(Effect.zipRight(Effect.yieldNow(), Submit.poll(id)), {
      until: (result) => result !== undefined
    })
    assert.strictEqual((yield* result)?._tag, "Suspended")
    yield* Submit.resume(id)
    assert.strictEqual((yield* result)?._tag, "Complete")
    assert.deepStrictEqual(yield* Submit.execute({ prompt: "cat" }), Job.ref(model, "one"))
    assert.strictEqual(calls, 2)
  }).pipe(Effect.provide(
    Submit.toLayer(() => JobWorkflow.submitOnce("image", { model, payload: {} })).pipe(
      Layer.provideMerge(WorkflowEngine.layerMemory),
      Layer.provide(queue)
    )
  ))
})

describe("awaitJob", () => {
  it.effect("a pipeline, on an engine in memory", () =>
    runFilm().pipe(Effect.provide(
      film(JobWorkflow.awaitJob).pipe(
        Layer.provideMerge(WorkflowEngine.layerMemory),
        Layer.provide(JobWatcher.layer()),
        Layer.provideMerge(queue)
      )
    )))
})

describe("awaitJobSuspended", () => {
  it.effect("a pipeline, on the engine of a cluster, in the spans of its requests", () =>
    Effect.gen(function*() {
      const { spans, tracer } = CollectingTracer.make()
      yield* Effect.flatMap(Sharding, ({ pollStorage }) => runFilm(pollStorage)).pipe(
        Effect.provide(
          film(JobWorkflow.awaitJobSuspended).pipe(
            Layer.merge(JobWorkflow.layerWaits),
            Layer.provideMerge(ClusterWorkflowEngine.layer),
            Layer.provide(ClusterWatcher.layer()),
            Layer.provideMerge(TestRunner.layer),
            Layer.provideMerge(queue)
          )
        ),
        Effect.withSpan("start"),
        Effect.withTracer(tracer)
      )
      const parents = spans.filter(({ name }) => name === "JobStream.result").map(({ parent }) => parent)
      assert.strictEqual(parents.length, 2)
      for (const parent of parents) assert.match(String(parent), /^effect-queue-status\/Waits\(\d+\)\.Await$/)
    }))
})
