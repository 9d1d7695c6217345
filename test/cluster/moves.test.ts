import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { bucketOf } from "../../src/cluster/internal/entity.js"
import { Job, JobStream, QueueError } from "../../src/index.js"
import * as FleetInMemory from "../fixtures/fleetInMemory.js"
import { model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

const refs = (count: number) => Array.from({ length: count }, (_, i) => Job.ref(model, String(i)))

const [job] = refs(1) as [Job.JobRef]

const watch = (job: Job.JobRef) => Stream.runDrain(JobStream.transitions(job, { cadence: "1 second" }))

const tagsOf = (job: Job.JobRef, options?: JobStream.Options) =>
  Effect.map(Stream.runCollect(JobStream.events(job, options)), (events) => Array.from(events, ({ _tag }) => _tag))

/** What an effect comes to within a while. */
const within = <A, E, R>(duration: Duration.DurationInput, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.fork(effect), (fiber) => Effect.zipRight(TestClock.adjust(duration), Fiber.join(fiber)))

const pending = (job: Job.JobRef) => Effect.succeed(Job.Pending({ job }))

it.effect("a job whose poll hangs after a move holds no other job of its bucket", () => {
  const jobs = refs(2_000).filter((other) => bucketOf(other) === bucketOf(job)).slice(0, 3)
  const { client, move, polls, runner } = FleetInMemory.make((other) =>
    other.requestId === job.requestId ? Effect.never : pending(other)
  )
  return Effect.gen(function*() {
    yield* TestClock.adjust("250 millis")
    // the runner does not know it yet
    move(() => "a")
    for (const job of jobs) {
      yield* Effect.fork(watch(job))
      yield* TestClock.adjust("1 millis")
    }
    yield* TestClock.adjust("2 seconds")
    assert.sameMembers(polls.map(({ id }) => id).slice(0, 3), jobs.map(({ requestId }) => requestId))
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

it.effect("a request that waits at a runner which loses the job goes to the next one", () => {
  const { client, move, runner } = FleetInMemory.make((job, runner) =>
    runner === "a" ? Effect.never : Effect.succeed(Job.Done({ job, outputs: { by: runner } }))
  )
  move(() => "a")
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(JobStream.result(job))
    yield* TestClock.adjust("1 second")
    move(() => "b")
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(fiber.unsafePoll(), Exit.succeed({ by: "b" }))
  }).pipe(Effect.provide(Layer.mergeAll(runner("a"), runner("b"), client)))
})

it.effect("a request to a runner that hangs goes to the next one", () => {
  const { add, client, move, runner } = FleetInMemory.make((job) => Effect.succeed(Job.Done({ job, outputs: {} })))
  add("hanging", Effect.uninterruptible(Effect.never))
  move(() => "hanging")
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(JobStream.result(job))
    yield* TestClock.adjust("1 second")
    move(() => "a")
    yield* TestClock.adjust("4 seconds")
    assert.deepStrictEqual(fiber.unsafePoll(), Exit.succeed({}))
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

it.effect("a runner that was made in an uninterruptible region stops", () => {
  const { client, move, runner } = FleetInMemory.make((job) => Effect.succeed(Job.Done({ job, outputs: {} })))
  move(() => "a")
  return Effect.gen(function*() {
    yield* Effect.uninterruptible(Layer.build(runner("a")))
    assert.deepStrictEqual(yield* JobStream.result(job), {})
  }).pipe(Effect.scoped, Effect.provide(client))
})

it.effect("a request that ends early, as its runner stops, is sent again", () => {
  const { add, client, move, runner } = FleetInMemory.make((job) => Effect.succeed(Job.Done({ job })))
  add("stopping", Effect.delay(Effect.interrupt, "1 second"))
  move(() => "stopping")
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(tagsOf(job))
    yield* TestClock.adjust("500 millis")
    move(() => "a")
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(yield* Fiber.join(fiber), ["Queued", "Claimed", "Completed"])
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

it.effect("a poll that was interrupted at the runner is no error of the watch", () => {
  let polls = 0
  const { client, move, runner } = FleetInMemory.make((job) =>
    Effect.suspend(() => polls++ === 0 ? Effect.interrupt : Effect.succeed(Job.Done({ job })))
  )
  move(() => "a")
  return Effect.gen(function*() {
    assert.deepStrictEqual(yield* within("1 second", tagsOf(job)), ["Queued", "Claimed", "Completed"])
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

it.effect("each watch has its own handling of an unknown state", () => {
  let polls = 0
  const { client, move, runner } = FleetInMemory.make((job) =>
    Effect.sync(() => polls++ < 2 ? Job.Unrecognized({ job, status: "paused" }) : Job.Done({ job, outputs: {} }))
  )
  move(() => "a")
  return Effect.gen(function*() {
    const error = yield* within("1 second", Effect.flip(JobStream.result(job)))
    assert.deepStrictEqual([error._tag, "status" in error && error.status], ["UnrecognizedStatus", "paused"])
    assert.deepStrictEqual(yield* within("1 minute", JobStream.result(job, { unrecognized: "ignore" })), {})
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

it.effect("a watch after one that failed has a poll of its own", () => {
  let isDenied = true
  const { client, move, runner } = FleetInMemory.make((job) =>
    isDenied
      ? Effect.fail(new QueueError.AccessDenied({ operation: "status", model, job, httpStatus: 401 }))
      : Effect.succeed(Job.Done({ job, outputs: {} }))
  )
  move(() => "a")
  return Effect.gen(function*() {
    assert.strictEqual((yield* within("1 second", Effect.flip(JobStream.result(job))))._tag, "AccessDenied")
    isDenied = false
    assert.deepStrictEqual(yield* within("1 second", JobStream.result(job)), {})
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})

const owners = FastCheck.array(
  FastCheck.tuple(FastCheck.integer({ min: 1, max: 1_500 }), FastCheck.constantFrom("a", "b", undefined)),
  { maxLength: 6 }
)

it.effect.prop("a job is polled by its owner, and each of its steps comes once", [owners], ([owners]) => {
  const { client, move, polls, runner } = FleetInMemory.make((job) =>
    Effect.map(
      Effect.delay(Clock.currentTimeMillis, "300 millis"),
      (at) => at < 2_000 ? Job.Pending({ job }) : at < 4_000 ? Job.Running({ job }) : Job.Done({ job })
    )
  )
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(tagsOf(job, { cadence: "500 millis" }))
    const moves: Array<readonly [at: number, to: string | undefined]> = []
    for (const [after, to] of [...owners, [500, "a"] as const]) {
      yield* TestClock.adjust(after)
      moves.push([yield* Clock.currentTimeMillis, to])
      move(() => to)
    }
    yield* TestClock.adjust("6 seconds")
    assert.deepStrictEqual(yield* Fiber.join(fiber), ["Queued", "Claimed", "Completed"])
    // a runner notices within 100 milliseconds that it lost a job
    const owned = ({ at, runner }: FleetInMemory.Event) =>
      moves.some(([from, to], i) => to === runner && at >= from && at <= (moves[i + 1]?.[0] ?? Infinity) + 100)
    assert.deepStrictEqual(polls.filter((poll) => !owned(poll)), [])
  }).pipe(Effect.provide(Layer.mergeAll(runner("a"), runner("b"), client)))
}, { fastCheck: { numRuns: runs(6, 16) } })

it.effect("each runner has the part of the budget that it has of the buckets", () => {
  const { client, move, polls, runner } = FleetInMemory.make(pending)
  move((bucket) => bucket < 64 ? "a" : "b")
  return Effect.gen(function*() {
    yield* Effect.fork(Effect.forEach(refs(24), watch, { concurrency: "unbounded", discard: true }))
    yield* TestClock.adjust("10 seconds")
    const of = (name: string) => polls.filter(({ at, runner }) => runner === name && at >= 2_000 && at < 10_000).length
    assert.isAtMost(of("a"), 18)
    assert.isAtMost(of("b"), 50)
    assert.isAbove(of("a"), 8)
    assert.isAbove(of("b"), 30)
  }).pipe(Effect.provide(Layer.mergeAll(
    runner("a", { pollsPerSecond: 8, queueOrder: "never" }),
    runner("b", { pollsPerSecond: 8, queueOrder: "never" }),
    client
  )))
})

it.effect("a 429 to one runner pauses all, and is announced once", () => {
  let isLimited = false
  const { client, messages, move, polls, runner } = FleetInMemory.make((job, runner) =>
    isLimited && runner === "a"
      ? Effect.fail(
        new QueueError.RateLimited({
          operation: "status",
          model,
          job,
          httpStatus: 429,
          retryAfter: Duration.seconds(10)
        })
      )
      : pending(job)
  )
  move((bucket) => bucket < 128 ? "a" : "b")
  return Effect.gen(function*() {
    yield* Effect.fork(Effect.forEach(refs(20), watch, { concurrency: "unbounded", discard: true }))
    yield* TestClock.adjust("3 seconds")
    isLimited = true
    yield* TestClock.adjust("2 seconds")
    isLimited = false
    const pauses = messages.filter(({ tag }) => tag === "Pause")
    assert.deepStrictEqual([...new Set(pauses.map(({ runner }) => runner))], ["b"])
    const since = polls.length
    yield* TestClock.adjust("10 seconds")
    const at = pauses[0]!.at
    assert.deepStrictEqual(polls.filter((poll) => poll.at > at && poll.at < at + 10_000), [])
    assert.deepStrictEqual([...new Set(polls.slice(since).map(({ runner }) => runner))].sort(), ["a", "b"])
    assert.strictEqual(messages.filter(({ tag }) => tag === "Pause").length, 128)
  }).pipe(Effect.provide(Layer.mergeAll(runner("a"), runner("b"), client)))
})

it.effect("a job is polled for 30 seconds after the last request for it", () => {
  const { client, move, polls, runner } = FleetInMemory.make(pending)
  move(() => "a")
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(watch(job))
    yield* TestClock.adjust("20 seconds")
    yield* Fiber.interrupt(fiber)
    yield* TestClock.adjust("50 seconds")
    const last = polls.at(-1)!.at
    assert.isAtLeast(last, 48_000)
    assert.isAtMost(last, 61_000)
  }).pipe(Effect.provide(Layer.merge(runner("a"), client)))
})
