import { PersistenceError } from "@effect/cluster/ClusterError"
import { MessageStorage } from "@effect/cluster/MessageStorage"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import { assert, describe, it } from "@effect/vitest"
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { Job, QueueError } from "../../src/index.js"
import { JobWorkflow } from "../../src/workflow/index.js"
import { clientOf, databases } from "../fixtures/databases.js"
import { model } from "../fixtures/job.js"
import * as SqlCluster from "../fixtures/sqlCluster.js"

const job = Job.ref(model, "one")

const Wait = Workflow.make({
  name: "Wait",
  payload: {},
  success: Job.JsonObject,
  error: Schema.Union(QueueError.WatchError, QueueError.OutcomeError),
  idempotencyKey: () => "",
  suspendedRetrySchedule: Schedule.spaced("20 millis")
})

const waiting = JobWorkflow.awaitJobSuspended(job)

const start = (
  wait: typeof Wait,
  status: Effect.Effect<Job.JobStatus, QueueError.QueueError>,
  refuses: () => boolean = () => false,
  execute: typeof waiting = waiting
) => {
  const storage = Layer.effect(
    MessageStorage,
    Effect.map(MessageStorage, (storage): MessageStorage["Type"] => ({
      ...storage,
      saveRequest: (request) =>
        Effect.suspend(() =>
          String(request.envelope.tag) === "Await" && refuses()
            ? Effect.fail(new PersistenceError({ cause: "the database is away" }))
            : storage.saveRequest(request)
        )
    }))
  )
  return Layer.fresh(SqlCluster.layer(
    wait.toLayer(() => execute),
    () => status,
    Layer.provide(storage, SqlMessageStorage.layer)
  ))
}

const done = Job.Done({ job, outputs: { answer: 42 } })

for (const { isMissing, make, name } of databases.slice(0, 1)) {
  describe.skipIf(isMissing)(`a suspended wait, with ${name}`, () => {
    it.scopedLive("goes on after its process has stopped", () =>
      Effect.gen(function*() {
        const database = clientOf(yield* make)
        let polls = 0
        const pending = Effect.sync(() => {
          polls++
          return Job.Pending({ job })
        })
        yield* Effect.gen(function*() {
          yield* Wait.execute(undefined, { discard: true })
          yield* Effect.repeat(Effect.sleep("10 millis"), { until: () => polls > 0 })
        }).pipe(Effect.provide(Layer.provide(start(Wait, pending), database)))
        const outputs = yield* Effect.provide(
          Wait.execute(undefined),
          Layer.provide(start(Wait, Effect.succeed(done)), database)
        )
        assert.deepStrictEqual(outputs, { answer: 42 })
      }))

    it.scopedLive("goes on after a watch that was interrupted", () =>
      Effect.gen(function*() {
        let polls = 0
        const status = Effect.suspend(() => polls++ === 0 ? Effect.interrupt : Effect.succeed(done))
        const outputs = yield* Effect.provide(
          Wait.execute(undefined),
          Layer.provide(start(Wait, status), clientOf(yield* make))
        )
        assert.deepStrictEqual(outputs, { answer: 42 })
      }))

    it.scopedLive("watches the job again under Activity.retry", () =>
      Effect.gen(function*() {
        let polls = 0
        const denied = new QueueError.AccessDenied({ operation: "status", model, job, httpStatus: 401, detail: "" })
        const status = Effect.suspend(() => polls++ === 0 ? denied : Effect.succeed(done))
        const outputs = yield* Effect.provide(
          Wait.execute(undefined),
          Layer.provide(start(Wait, status, undefined, Activity.retry(waiting, { times: 1 })), clientOf(yield* make))
        )
        assert.deepStrictEqual(outputs, { answer: 42 })
      }))

    it.scopedLive("fails like an activity if the storage does, and is resumed where the workflow is suspended then", () =>
      Effect.gen(function*() {
        let isAway = true
        const kept = Wait.annotate(Workflow.SuspendOnFailure, true)
        yield* Effect.gen(function*() {
          const id = yield* kept.execute(undefined, { discard: true })
          const result = yield* Effect.repeat(Effect.delay(kept.poll(id), "10 millis"), {
            until: (result) => result !== undefined
          })
          assert.strictEqual(result?._tag, "Suspended")
          isAway = false
          yield* kept.resume(id)
          assert.deepStrictEqual(yield* kept.execute(undefined), { answer: 42 })
        }).pipe(
          Effect.provide(Layer.provide(start(kept, Effect.succeed(done), () => isAway), clientOf(yield* make)))
        )
      }))
  })
}
