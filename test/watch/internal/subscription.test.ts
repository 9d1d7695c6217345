import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, identity, TestClock } from "effect"
import { Deadline, Job, JobQueue, JobWatcher, WatchPolicy } from "effect-queue-status"
import { Fault, TestJobQueue, VirtualTime } from "effect-queue-status/testing"
import { observed, type Observer } from "../../../src/watch/internal/observed.js"
import * as PollingWatcher from "../../../src/watch/internal/pollingWatcher.js"
import { interruptedAnywhere } from "../../fixtures/interruptions.js"
import { model } from "../../fixtures/job.js"
import { layer, submit } from "../../fixtures/watcher.js"

/** The calls of a queue where all jobs wait. */
const waiting = {
  status: (job: Job.JobRef) => Effect.succeed(Job.Pending({ job })),
  cancel: () => Effect.succeed(JobQueue.CancelResult.Canceled())
}

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
      const watcher = yield* PollingWatcher.make(yield* JobQueue.JobQueue, {})
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

  // the observer has an effect for each notice, and one for the end of a job
  const effects: Array<string> = []
  const observer: Observer<void> = {
    begin: () => {},
    onNotice: (_, { _tag }) => Effect.sync(() => effects.push(_tag)),
    end: () => Effect.sync(() => effects.push("end"))
  }
  const watchers = { "": identity, " that is observed": (watcher: JobWatcher.Service) => observed(watcher, observer) }
  for (const [which, from] of Object.entries(watchers)) {
    it.effect(`loses no notice${which}, wherever its reader is interrupted`, () =>
      Effect.scoped(Effect.gen(function*() {
        const watcher = from(yield* PollingWatcher.make(waiting, {}))
        const policy = { ...(yield* WatchPolicy.Default), deadline: Deadline.cancelPending(Deadline.total("1 second")) }
        // the news of each subscription: a snapshot, and the end of the watch, which takes the time of a cancel
        const expired = (nth: number) =>
          Effect.gen(function*() {
            const subscription = yield* watcher.subscribe({ policy, wants: "changes" })
            yield* subscription.add(Job.ref(model, String(nth)))
            yield* TestClock.adjust("2 seconds")
            return subscription
          })
        let subscription = yield* expired(0)
        let tags: Array<string> = []
        // in the step in which it receives them
        const read = Effect.flatMap(Effect.suspend(() => subscription.next), (notices) => {
          for (const { _tag } of notices) tags.push(_tag)
          return Effect.void
        })
        yield* interruptedAnywhere(() => read, (nth) =>
          Effect.gen(function*() {
            if (!tags.includes("Ended")) assert.isFalse(yield* subscription.add(Job.ref(model, String(nth))))
            yield* Effect.forkScoped(Effect.forever(read))
            yield* TestClock.adjust("2 seconds")
            assert.deepStrictEqual(tags, ["Sample", "Ended"])
            assert.deepStrictEqual(effects, which === "" ? [] : ["Sample", "Ended", "end"])
            tags = []
            effects.length = 0
            subscription = yield* expired(nth + 1)
          }))
      })))
  }
})
