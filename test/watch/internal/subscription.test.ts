import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect } from "effect"
import { JobQueue, JobWatcher, WatchPolicy } from "effect-queue-status"
import { Fault, TestJobQueue, VirtualTime } from "effect-queue-status/testing"
import { layer, submit } from "../../fixtures/watcher.js"

describe("a subscription", () => {
  it.effect("gives notices that name their job also after it has ended", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const policy = yield* WatchPolicy.Default
      const [notice] = yield* Effect.scoped(Effect.gen(function*() {
        const subscription = yield* Effect.flatMap(
          JobWatcher.JobWatcher,
          (watcher) => watcher.subscribe({ policy, wants: "changes" })
        )
        yield* subscription.add(job)
        return Chunk.toReadonlyArray(yield* subscription.next)
      }))
      assert.strictEqual(notice?._tag, "Sample")
      assert.deepStrictEqual(notice.watch.job, job)
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("gives no notice of a job that was removed in trouble", () =>
    Effect.scoped(Effect.gen(function*() {
      const [job, other] = [yield* submit, yield* submit]
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status"), Fault.ofJob(job)))
      const watcher = yield* JobWatcher.makeOver(yield* JobQueue.JobQueue, {})
      const policy = yield* WatchPolicy.Default
      const subscription = yield* watcher.subscribe({ policy, wants: "changes" })
      const next = Effect.map(
        Effect.suspend(() => subscription.next),
        Chunk.map(({ _tag, watch }) => `${_tag} ${watch.job.requestId}`)
      )
      yield* subscription.add(job)
      assert.deepStrictEqual([...yield* next], [`Trouble ${job.requestId}`])
      // more errors, which are not read
      yield* Effect.sleep("3 seconds")
      yield* subscription.remove(job)
      yield* subscription.add(other)
      assert.deepStrictEqual([...yield* next], [`Sample ${other.requestId}`])
    })).pipe(VirtualTime.run, Effect.provide(layer())))
})
