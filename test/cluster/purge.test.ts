import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as DurableClock from "@effect/workflow/DurableClock"
import * as Workflow from "@effect/workflow/Workflow"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { Fleet } from "../../src/cluster/index.js"
import { Job } from "../../src/index.js"
import { JobWorkflow } from "../../src/workflow/index.js"
import { clientOf, databases } from "../fixtures/databases.js"
import { model } from "../fixtures/job.js"
import * as SqlCluster from "../fixtures/sqlCluster.js"

const job = Job.ref(model, "one")

const options = { payload: { key: Schema.String }, idempotencyKey: ({ key }: { readonly key: string }) => key }

const retried = { suspendedRetrySchedule: Schedule.spaced("20 millis") }

const Child = Workflow.make({ name: "Child", ...options })

const Parent = Workflow.make({ name: "Parent", ...options, ...retried })

// the identifier of an execution is the hash of "Nap-night-key", as that of an execution of `Nap` with the key "night-key"
const Night = Workflow.make({ name: "Nap-night", ...options, ...retried })

const Nap = Workflow.make({ name: "Nap", ...options, ...retried })

// without a threshold of its own, it would be an activity
const sleep = (name: string, duration: Duration.DurationInput) =>
  DurableClock.sleep({ name, duration, inMemoryThreshold: "1 millis" })

/** A workflow that executes another one, and is suspended until a job ends. */
const start = () => {
  let isDone = false
  let children = 0
  return {
    finish: () => {
      isDone = true
    },
    runsOfChild: () => children,
    layer: SqlCluster.layer(
      Layer.mergeAll(
        Child.toLayer(() => Effect.sync(() => void children++)),
        Nap.toLayer(() => sleep("nap", "10 millis")),
        Night.toLayer(() => sleep("night", "8 hours")),
        Parent.toLayer(({ key }) =>
          Effect.zipRight(Child.execute({ key: `of ${key}` }), Effect.orDie(JobWorkflow.awaitJobSuspended(job)))
        )
      ),
      () => Effect.sync(() => isDone ? Job.Done({ job, outputs: {} }) : Job.Pending({ job })),
      SqlMessageStorage.layer
    )
  }
}

/** The types of the entities of which messages are stored. */
const stored = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ type: string }>`
    SELECT DISTINCT entity_type AS type FROM cluster_messages ORDER BY entity_type
  `
  const orphans = yield* sql`SELECT id FROM cluster_replies WHERE request_id NOT IN (SELECT id FROM cluster_messages)`
  assert.deepStrictEqual(orphans, [])
  return rows.map(({ type }) => type)
})

// a text of a user that was cut in the middle of an emoji
const parent = "parent \u0000 \ud83d"

const purge = Effect.zipRight(Effect.sleep("2 millis"), Fleet.purge({ olderThan: 0 }))

for (const { isMissing, make, name } of databases) {
  describe.skipIf(isMissing)(`the purge of ${name}`, () => {
    it.scopedLive("deletes what ended, and nothing that a workflow still needs", () =>
      Effect.gen(function*() {
        const database = clientOf(yield* make)
        const { finish, layer, runsOfChild } = start()
        yield* Effect.gen(function*() {
          yield* Child.execute({ key: "alone" })
          const running = yield* Effect.fork(Parent.execute({ key: parent }))
          yield* Effect.repeat(Effect.delay(stored, "20 millis"), { until: (types) => types.length === 3 })
          assert.strictEqual(runsOfChild(), 2)

          yield* Fleet.purge({ olderThan: "1 hour" })
          yield* Fleet.purge({ olderThan: Duration.infinity })
          yield* Child.execute({ key: "alone" })
          assert.strictEqual(runsOfChild(), 2, "its result is stored")
          yield* purge
          yield* Child.execute({ key: "alone" })
          assert.strictEqual(runsOfChild(), 3, "it was deleted")

          finish()
          yield* Fiber.join(running)
          assert.strictEqual(runsOfChild(), 3, "the child of a suspended workflow was kept")
          yield* Parent.execute({ key: parent })

          // a child after its parent
          yield* Effect.repeat(Effect.zipRight(purge, stored), { until: (types) => types.length === 0 })
        }).pipe(Effect.provide(Layer.provideMerge(layer, database)))
      }))

    it.scopedLive("keeps a workflow and its clock when one of another name has the same identifier", () =>
      Effect.gen(function*() {
        yield* Nap.execute({ key: "night-key" })
        yield* purge
        assert.deepStrictEqual(yield* stored, [])
        yield* Effect.fork(Night.execute({ key: "key" }))
        yield* Effect.repeat(Effect.delay(stored, "20 millis"), { until: (types) => types.length === 2 })
        yield* Nap.execute({ key: "night-key" })
        yield* purge
        assert.deepStrictEqual(yield* stored, ["Workflow/-/DurableClock", "Workflow/Nap-night"])
      }).pipe(Effect.provide(Layer.provideMerge(start().layer, Layer.unwrapScoped(Effect.map(make, clientOf))))))
  })
}
