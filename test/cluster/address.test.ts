import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Net from "node:net"
import { ClusterWatcher, Fleet } from "../../src/cluster/index.js"
import { JobWatcher } from "../../src/index.js"
import { TestJobQueue } from "../../src/testing/index.js"
import { freePort } from "../fixtures/fleet.js"

it("a runner at an address that other runners can't reach throws when it is created", () => {
  for (const port of [-1, 0, 1.5, 65_536, NaN, Infinity]) {
    const address = { host: "127.0.0.1", port }
    assert.throws(() => Fleet.layer(address), RangeError, `Fleet: ${port} is not a port, from 1 to 65535`)
    assert.throws(() => Fleet.layer({ host: "127.0.0.1", port: 34_431, listen: address }), RangeError)
  }
  assert.throws(() => Fleet.layer({ host: "", port: 34_431 }), /host/)
})

it.scopedLive("a program may have two runners, each with its own address and watcher", () =>
  Effect.gen(function*() {
    class Other extends Context.Tag("Other")<Other, JobWatcher.Service>() {}
    const runner = (port: number) =>
      ClusterWatcher.layer().pipe(
        Layer.provide(TestJobQueue.layer()),
        Layer.provideMerge(Fleet.layer({ host: "127.0.0.1", port })),
        Layer.provide(SqliteClient.layer({ filename: ":memory:" }))
      )
    const [one, two] = yield* Effect.all([freePort, freePort], { concurrency: 2 })
    const both = Layer.merge(
      runner(one),
      Layer.effect(Other, JobWatcher.JobWatcher).pipe(Layer.provide(runner(two)))
    )
    const context = yield* Layer.build(both)
    assert.notStrictEqual(Context.get(context, JobWatcher.JobWatcher), Context.get(context, Other))
    for (const port of [one, two]) {
      yield* Effect.async<void, Error>((resume) => {
        const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.void))
        socket.on("error", (error) => resume(Effect.fail(error)))
        return Effect.sync(() => socket.destroy())
      })
    }
  }).pipe(Logger.withMinimumLogLevel(LogLevel.None)))
