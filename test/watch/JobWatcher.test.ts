import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Job from "../../src/model/Job.js"
import type { WatchError } from "../../src/model/QueueError.js"
import * as Transition from "../../src/model/Transition.js"
import * as Cadence from "../../src/policy/Cadence.js"
import * as Deadline from "../../src/policy/Deadline.js"
import type * as Retry from "../../src/policy/Retry.js"
import * as JobQueue from "../../src/queue/JobQueue.js"
import { Arbitraries, Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import * as JobStream from "../../src/watch/JobStream.js"
import * as JobWatcher from "../../src/watch/JobWatcher.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import { Epoch } from "../fixtures/epoch.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const model = "my-org/video-generator"
const submitTo = (model: string, priority = 0) =>
  Effect.orDie(JobQueue.submit({ model, payload: { prompt: "a cat" }, priority }))
const submit = submitTo(model)

interface Options extends TestJobQueue.Options {
  readonly watcher?: JobWatcher.Options
}

const layer = ({ watcher, ...options }: Options = {}) =>
  JobWatcher.layer({ queueOrder: "always", ...watcher }).pipe(
    Layer.provideMerge(TestJobQueue.layer(options)),
    Layer.provideMerge(Epoch)
  )

type Env = JobWatcher.JobWatcher | JobQueue.JobQueue | TestJobQueue.TestJobQueue

const run = <A, E>(options: Options, effect: Effect.Effect<A, E, Env>): Promise<A> =>
  effect.pipe(VirtualTime.run, Effect.provide(layer(options)), Effect.runPromise)

const everySecond = { cadence: Schedule.spaced("1 second") }

const steps = (transitions: Iterable<Transition.Transition>) =>
  Array.from(transitions, ({ _tag, attempt }) => `${_tag} ${attempt}`)

const polls = Effect.map(
  TestJobQueue.calls,
  (calls) => calls.filter(({ operation }) => operation === "status")
)

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const groupBy = <A>(items: ReadonlyArray<A>, key: (item: A) => string): ReadonlyMap<string, ReadonlyArray<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group === undefined) groups.set(key(item), [item])
    else group.push(item)
  }
  return groups
}

/** Asserts that a job has one request in flight, or two if the first has taken a second or more. */
const expectOneAtATime = (calls: ReadonlyArray<TestJobQueue.Call>) => {
  const endOf = (call: TestJobQueue.Call | undefined) => call?.end?.at ?? Infinity
  for (const [job, ofJob] of groupBy(calls, ({ requestId }) => requestId ?? "")) {
    ofJob.forEach(({ at }, i) => {
      const before = ofJob.slice(0, i).filter((call) => endOf(call) > at)
      assert.isAtMost(before.length, 1, `${job}, poll ${i + 1}`)
      for (const call of before) assert.isAtLeast(at, call.at + 1_000, `${job}, poll ${i + 1}`)
    })
  }
}

const expectWithin = (calls: ReadonlyArray<TestJobQueue.Call>, perSecond: number) => {
  calls.forEach(({ at }, i) => {
    const second = calls.slice(i).filter((call) => call.at < at + 1_000).length
    assert.isAtMost(second, Math.max(1, perSecond), `in the second from ${at} on`)
  })
}

const expectInFlight = (calls: ReadonlyArray<TestJobQueue.Call>, most: number) => {
  for (const { at } of calls) {
    const now = calls.filter((call) => call.at <= at && (call.end?.at ?? Infinity) > at).length
    assert.isAtMost(now, most, `requests on their way at ${at}`)
  }
}

const shared = Cadence.fixed("3 seconds")
const cadences: { readonly [name: string]: () => Cadence.Cadence } = {
  shared: () => shared,
  own: () => Cadence.exponential({ base: "1 second", factor: 2, cap: "20 seconds" }),
  keen: () => Schedule.spaced("700 millis"),
  ending: () => Schedule.recurs(2)
}

interface Watcher {
  readonly job: number
  readonly cadence: string
  readonly what: "transitions" | "statuses" | "result" | "resumed"
  readonly begins: number
  /** How long it watches; to the end if undefined. */
  readonly leaves: number | undefined
  /** How long it takes to process each element. */
  readonly slow: number
}

const watcher = (jobs: number): FastCheck.Arbitrary<Watcher> =>
  FastCheck.record({
    job: FastCheck.nat({ max: jobs - 1 }),
    cadence: FastCheck.constantFrom(...Object.keys(cadences)),
    what: FastCheck.constantFrom("transitions", "transitions", "statuses", "result", "resumed"),
    begins: FastCheck.nat({ max: 60_000 }),
    leaves: FastCheck.option(FastCheck.nat({ max: 30_000 }), { nil: undefined, freq: 2 }),
    slow: FastCheck.constantFrom(0, 0, 0, 40_000)
  })

const passing: FastCheck.Arbitrary<ReadonlyArray<Fault.Fault>> = FastCheck.subarray([
  Fault.unavailable().pipe(Fault.on("status"), Fault.withProbability(0.1)),
  Fault.delay(Worker.uniform("0 seconds", "4 seconds")).pipe(Fault.on("status"), Fault.withProbability(0.5)),
  Fault.stale("8 seconds").pipe(Fault.on("status"), Fault.withProbability(0.3)),
  Fault.rateLimited("5 seconds").pipe(Fault.on("status"), Fault.withProbability(0.03)),
  Fault.noResponse.pipe(Fault.on("status"), Fault.withProbability(0.03))
])

const policyOf = ({ cadence }: Watcher) => ({
  cadence: cadences[cadence]!(),
  retry: Schedule.spaced("2 seconds"),
  deadline: { ...Deadline.none, request: Duration.seconds(10) }
})

const watch = (job: Job.JobRef, watcher: Watcher) =>
  Effect.gen(function*() {
    const policy = policyOf(watcher)
    const seen: Array<Transition.Transition> = []
    const take = (transition: Transition.Transition) =>
      Effect.delay(Effect.sync(() => seen.push(transition)), watcher.slow)
    const watching = watcher.what === "result"
      ? Effect.exit(JobStream.result(job, policy))
      : watcher.what === "statuses"
      ? Stream.runForEach(JobStream.statuses(job, policy), () => Effect.sleep(watcher.slow))
      : watcher.what === "transitions"
      ? Stream.runForEach(JobStream.transitions(job, policy), take)
      // takes one transition, leaves, and resumes from its cursor
      : Effect.iterate(true, {
        while: (more) => more,
        body: () =>
          JobStream.transitions(job, { ...policy, from: seen.at(-1)?.cursor }).pipe(
            Stream.take(1),
            Stream.tap(take),
            Stream.runCount,
            Effect.map((count) => count > 0)
          )
      })
    yield* Effect.sleep(watcher.begins)
    const left = yield* Effect.map(
      watcher.leaves === undefined ? Effect.asSome(watching) : Effect.timeoutOption(watching, watcher.leaves),
      Option.isNone
    )
    return { watcher, job, seen, left }
  })

describe("laws", () => {
  it("each subscriber sees the history of its job while others join and leave, and polls stay within their limits", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        passing,
        FastCheck.array(watcher(4), { minLength: 1, maxLength: 12 }),
        FastCheck.constantFrom(2, 20, 1_000),
        FastCheck.constantFrom(1, 3, 64),
        async (workers, faults, watchers, pollsPerSecond, concurrency) => {
          await run(
            { workers, watcher: { pollsPerSecond, concurrency } },
            Effect.gen(function*() {
              const jobs = yield* Effect.replicateEffect(submit, 4)
              for (const fault of faults) yield* TestJobQueue.inject(fault)
              const all = yield* Effect.forEach(watchers, (watcher) => watch(jobs[watcher.job]!, watcher), {
                concurrency: "unbounded"
              })
              const now = yield* Clock.currentTimeMillis
              yield* Effect.sleep("1 hour")
              const calls = yield* polls
              for (const { at, end } of calls) assert.isTrue(at <= now && (end?.at ?? Infinity) <= now, "nothing runs")
              expectOneAtATime(calls)
              expectWithin(calls, pollsPerSecond)
              expectInFlight(calls, concurrency)
              for (const { job, left, seen, watcher } of all) {
                note(left ? "left" : watcher.what)
                if (watcher.what === "statuses" || watcher.what === "result") continue
                if (!left) yield* TestJobQueue.expectMatchesHistory(job, seen)
                else {
                  const history = (yield* TestJobQueue.transitions(job)).filter(({ _tag }) => _tag !== "Progressed")
                  const reported = seen.filter(({ _tag }) => _tag !== "Progressed")
                  assert.deepStrictEqual(steps(reported), steps(history).slice(0, reported.length))
                }
              }
            })
          )
        }
      ),
      { numRuns: runs(15, 48) }
    )
    met("left", "transitions", "statuses", "result", "resumed")
  })

  it("polls never exceed the budget, and no job waits longer than its pause times the reported stretch", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.integer({ min: 2, max: 60 }),
        FastCheck.integer({ min: 1, max: 40 }),
        FastCheck.integer({ min: 1, max: 5 }),
        FastCheck.nat({ max: 5_000 }),
        async (count, pollsPerSecond, models, delay) => {
          const { calls, reported } = await run(
            { watcher: { pollsPerSecond, queueOrder: "never" as const } },
            Effect.gen(function*() {
              const reported: Array<{ readonly at: number; readonly stretch: number }> = [{ at: 0, stretch: 1 }]
              yield* Effect.fork(Stream.runForEach(JobWatcher.pollingEvents, (event) =>
                Effect.sync(() => {
                  if (event._tag === "PollingSlowed") reported.push({ at: event.at.epochMillis, stretch: event.factor })
                })))
              yield* Effect.yieldNow()
              const jobs = yield* Effect.forEach(
                Array.from({ length: count }, (_, i) => `model ${i % models}`),
                (name) => submitTo(name)
              )
              yield* JobStream.watchAll(Stream.fromIterable(jobs), { cadence: Schedule.spaced(1_000 + delay) }).pipe(
                Stream.runDrain,
                Effect.timeout("2 minutes"),
                Effect.ignore
              )
              return { calls: yield* polls, reported }
            })
          )
          expectWithin(calls, pollsPerSecond)
          const most = Math.max(...reported.map(({ stretch }) => stretch))
          note(most > 1 ? "stretched" : "not stretched")
          const ofJob = groupBy(calls, ({ requestId }) => requestId ?? "")
          assert.strictEqual(ofJob.size, count)
          for (const ofOne of ofJob.values()) {
            ofOne.slice(1).forEach(({ at }, i) => {
              // the stretch is reported when it has grown by a tenth first, and then when it doubles; the window of the
              // budget is a tenth of a second
              const bound = (1_000 + delay) * Math.max(1.1, 2 * most) + 1_000 * Math.max(1, 1 / pollsPerSecond)
              assert.isAtMost(at - ofOne[i]!.at, bound)
            })
          }
          // no job has been polled much more often than another
          const counts = Array.from(ofJob.values(), ({ length }) => length)
          assert.isAtMost(Math.max(...counts) - Math.min(...counts), 2)
        }
      ),
      { numRuns: runs(8, 24) }
    )
    met("stretched", "not stretched")
  })

  it("a failure reaches every subscriber once, and the next watch starts without it", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(FastCheck.tuple(FastCheck.nat({ max: 2_500 }), FastCheck.boolean()), {
          minLength: 1,
          maxLength: 10
        }),
        FastCheck.constantFrom(Fault.unauthorized, Fault.notFound, Fault.malformed("{}"), Fault.answer(418, "tea")),
        (watchers, fault) =>
          run(
            { workers: { script: Worker.always(Worker.finish("10 seconds", { a: 1 })) } },
            Effect.gen(function*() {
              const job = yield* submit
              const { remove } = yield* TestJobQueue.inject(
                fault.pipe(Fault.on("status"), Fault.during("3 seconds", "1 minute"))
              )
              const policy = { ...everySecond, retry: Schedule.stop }
              const errors = yield* Effect.forEach(watchers, ([begins, isResult]) => {
                const watch: Effect.Effect<unknown, unknown, JobWatcher.JobWatcher> = isResult
                  ? JobStream.result(job, policy)
                  : Stream.runDrain(JobStream.transitions(job, policy))
                return Effect.flip(Effect.delay(watch, begins))
              }, { concurrency: "unbounded" })
              assert.strictEqual(new Set(errors).size, 1)
              const [error] = errors as ReadonlyArray<WatchError>
              assert(error !== undefined && "lastSeen" in error && error.lastSeen !== undefined)
              assert.deepStrictEqual(error.lastSeen.status.job, job)
              yield* remove
              assert.deepStrictEqual(yield* JobStream.result(job), { a: 1 })
            })
          )
      ),
      { numRuns: runs(8, 24) }
    )
  })
})

// -----------------------------------------------------------------------------
// sharing
// -----------------------------------------------------------------------------

describe("sharing", () => {
  it.effect("a hundred watchers of one job, polled each second, make eleven requests in ten seconds", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const fibers = yield* Effect.replicateEffect(
        Effect.fork(Stream.runCollect(JobStream.transitions(job, { cadence: Cadence.fixed("1 second") }))),
        100
      )
      const seen = yield* Effect.forEach(fibers, Fiber.join)
      const [first] = seen
      for (const transitions of seen) assert.deepStrictEqual(steps(transitions), steps(first!))
      assert.isAtMost((yield* polls).filter(({ at }) => at <= 10_000).length, 11)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("12 seconds")) } }))
    ))

  it.effect("the poller follows the fastest cadence, and continues with the others when its subscriber leaves", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const slow = yield* Effect.fork(
        Stream.runDrain(JobStream.transitions(job, { cadence: Schedule.spaced("10 seconds") }))
      )
      yield* Effect.sleep("5 seconds")
      yield* Effect.ignore(Effect.timeout(Stream.runDrain(JobStream.statuses(job, everySecond)), "2500 millis"))
      yield* Effect.sleep("20 seconds")
      yield* Fiber.interrupt(slow)
      // the cadence of the second subscriber is due at once: the last poll is older than its pause
      yield* TestJobQueue.expectPolls(job, [0, 5, 6, 7, 8, 18].map(Duration.seconds))
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("a retained terminal state is reported without a request until it expires", () =>
    Effect.gen(function*() {
      const job = yield* submit
      assert.deepStrictEqual(yield* JobStream.result(job, everySecond), { a: 1 })
      const { length } = yield* polls
      const late = yield* Stream.runCollect(JobStream.transitions(job))
      assert.deepStrictEqual(steps(late), ["Queued 0", "Claimed 1", "Completed 1"])
      assert.deepStrictEqual(yield* JobStream.result(job, Schema.Struct({ a: Schema.Number })), { a: 1 })
      const statuses = yield* Stream.runCollect(JobStream.statuses(job))
      assert.deepStrictEqual(Array.from(statuses, ({ _tag }) => _tag), ["Done"])
      assert.strictEqual((yield* polls).length, length)
      yield* Effect.sleep("5 minutes")
      yield* JobStream.result(job)
      assert.strictEqual((yield* polls).length, length + 1)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("3 seconds", { a: 1 })) } }))
    ))

  it.effect("a retained terminal state is reported for its own job only, with any characters in its names", () =>
    Effect.gen(function*() {
      const watcher = yield* JobWatcher.make().pipe(
        Effect.provide(Layer.mock(JobQueue.JobQueue, {
          status: (job) => Effect.succeed(Job.Done({ job, outputs: { of: job.requestId } }))
        }))
      )
      for (const job of [Job.ref("a\nb", "c"), Job.ref("a", "b\nc"), Job.ref("1 a", "b"), Job.ref("1", " ab")]) {
        assert.deepStrictEqual(yield* Effect.provideService(JobStream.result(job), JobWatcher.JobWatcher, watcher), {
          of: job.requestId
        })
      }
    }).pipe(Effect.scoped))

  it.effect("at most 1,000 terminal states are retained", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 1_000 + 1)
      yield* Effect.sleep("1 minute")
      yield* Effect.forEach(jobs, (job) => JobStream.result(job), { concurrency: "unbounded", discard: true })
      const { length } = yield* polls
      yield* JobStream.result(jobs[1]!)
      assert.strictEqual((yield* polls).length, length)
      yield* JobStream.result(jobs[0]!)
      assert.strictEqual((yield* polls).length, length + 1)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        watcher: { pollsPerSecond: 10_000 },
        workers: { workers: 2_000, script: Worker.always(Worker.finish("1 second")) }
      }))
    ))

  it.effect("the last subscriber that leaves interrupts the request in flight; a cursor of another job is rejected", () =>
    Effect.gen(function*() {
      const [job, other] = yield* Effect.all([submit, submit])
      yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.ofJob(job)))
      const first = yield* Effect.fork(JobStream.result(job))
      const second = yield* Effect.fork(Stream.runDrain(JobStream.statuses(job)))
      yield* Effect.sleep("500 millis")
      yield* Fiber.interrupt(first)
      assert.isUndefined((yield* polls)[0]?.end)
      yield* Fiber.interrupt(second)
      assert.strictEqual((yield* polls)[0]?.end?.outcome, "interrupted")
      yield* Effect.sleep("1 hour")
      assert.strictEqual((yield* polls).length, 1)
      const [queued] = yield* Stream.runCollect(Stream.take(JobStream.transitions(other), 1))
      const error = yield* Effect.flip(Stream.runDrain(JobStream.transitions(job, { from: queued!.cursor })))
      assert.strictEqual(error._tag, "JobMismatch")
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("subscribers whose cursor has other progress than the latest snapshot wait for one shared poll, since either may be older", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const seldom = { cadence: Schedule.spaced("20 seconds") }
      const shown: Array<Transition.Transition> = []
      yield* Effect.fork(
        Stream.runForEach(JobStream.transitions(job, seldom), (step) => Effect.sync(() => shown.push(step)))
      )
      yield* Effect.sleep("50 seconds")
      // the progress is that of the polls after 20 and 40 seconds
      const [, , earlier, latest] = shown
      const ahead = yield* Transition.derive(Option.some(latest!.cursor), yield* JobQueue.status(job), {
        observedAt: yield* DateTime.now
      })
      const next = (from: Transition.Cursor | undefined) =>
        Effect.map(Stream.runHead(JobStream.transitions(job, { ...seldom, from })), (step) => {
          assert(Option.isSome(step) && step.value._tag === "Progressed")
          return Option.getOrThrow(step.value.progress)
        })
      const before = (yield* polls).length
      const together = yield* Effect.replicateEffect(next(earlier!.cursor), 100, { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(together), new Set([0.5]))
      assert.strictEqual((yield* polls).length, before + 1)
      assert.isAbove(yield* next(ahead.cursor), 0.5)
      assert.strictEqual((yield* polls).length, before + 2)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        workers: { script: Worker.always(...Worker.progressInSteps(100, "1 second"), Worker.finish("1 second")) }
      }))
    ))

  it.effect("a snapshot of a lagging replica is skipped, and later subscribers do not receive it", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(
        Fault.stale("4700 millis").pipe(Fault.on("status"), Fault.during("4500 millis", "5500 millis"))
      )
      const tags = yield* Effect.fork(
        Stream.runCollect(Stream.map(JobStream.statuses(job, everySecond), ({ _tag }) => _tag))
      )
      yield* Effect.sleep("5200 millis")
      const late = yield* Stream.runHead(JobStream.statuses(job, everySecond))
      assert.strictEqual(Option.getOrThrow(late)._tag, "Running")
      assert.deepStrictEqual(Array.from(yield* Fiber.join(tags)), [
        ...["Pending", "Running", "Running", "Running", "Running"],
        ...["Running", "Running", "Done"]
      ])
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { pickup: "500 millis", script: Worker.always(Worker.finish("7 seconds")) } }))
    ))

  it.effect("a subscriber that joins just after the last one left sends no request before the interrupted one has ended", () =>
    Effect.gen(function*() {
      let asking = 0
      let most = 0
      const watcher = yield* JobWatcher.make().pipe(Effect.provide(Layer.mock(JobQueue.JobQueue, {
        status: () =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++asking)
            }),
            () => Effect.never,
            // its interruption takes some turns, as that of an HTTP request does
            () => Effect.zipRight(Effect.replicateEffect(Effect.yieldNow(), 3), Effect.sync(() => asking--))
          )
      })))
      const watch = Effect.provideService(JobStream.result(Job.ref(model, "one")), JobWatcher.JobWatcher, watcher)
      const first = yield* Effect.fork(watch)
      yield* Effect.sleep("500 millis")
      yield* Fiber.interruptFork(first)
      yield* Effect.yieldNow()
      yield* Effect.timeoutOption(watch, "500 millis")
      yield* Effect.sleep("1 second")
      assert.strictEqual(most, 1)
      assert.strictEqual(asking, 0)
    }).pipe(Effect.scoped, VirtualTime.run, Effect.provide(layer())))

  it.effect("a slow subscriber receives the transitions before an error, and then the error", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.unauthorized.pipe(Fault.on("status"), Fault.during("4 seconds", "1 hour")))
      const reported: Array<string> = []
      const error = yield* JobStream.transitions(job, everySecond).pipe(
        Stream.runForEach(({ _tag }) => Effect.delay(Effect.sync(() => reported.push(_tag)), "10 seconds")),
        Effect.flip
      )
      assert.strictEqual(error._tag, "AccessDenied")
      assert.deepStrictEqual(reported, ["Queued", "Claimed"])
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { pickup: "1500 millis", script: Worker.always(Worker.finish("1 minute")) } }))
    ))

  it.effect("makes one span per watch, for any number of polls", () =>
    Effect.gen(function*() {
      for (const name of ["transitions", "statuses", "result"] as const) {
        const { spans, tracer } = CollectingTracer.make()
        const job = yield* submit
        const watch: Stream.Stream<unknown, unknown, JobWatcher.JobWatcher> = JobStream[name](job, everySecond)
        yield* Stream.runDrain(watch).pipe(Effect.withSpan("parent"), Effect.withTracer(tracer))
        yield* Stream.runDrain(watch).pipe(Effect.withTracer(tracer), Effect.withTracerEnabled(false))
        assert.deepStrictEqual(spans.map(({ name, parent }) => [name, parent]), [
          ["parent", undefined],
          [`JobStream.${name}`, "parent"]
        ])
        assert.deepStrictEqual(Object.fromEntries(spans[1]!.attributes), {
          "queue.model": job.model,
          "queue.request_id": job.requestId
        })
        assert(spans[1]!.exit !== undefined && Exit.isSuccess(spans[1]!.exit))
      }
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("8 seconds")) } }))
    ))

  /** A schedule that dies at a step: 0 is the first. */
  const dyingAt = <In>(step: number) =>
    Schedule.spaced("1 second").pipe(
      Schedule.mapInput((_: In) => {}),
      Schedule.mapEffect((i) => i < step ? Effect.void : Effect.die("a bug"))
    )

  const isDefect = (exit: Exit.Exit<unknown, unknown>): boolean => Exit.isFailure(exit) && Cause.isDie(exit.cause)

  it("a cadence or a retry that dies is a defect of its own watches, and of no other watch", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.nat({ max: 4 }),
        FastCheck.constantFrom("cadence", "retry"),
        FastCheck.nat({ max: 6_000 }),
        FastCheck.nat({ max: 6_000 }),
        FastCheck.nat({ max: 6_000 }),
        (step, schedule, begins, other, leaves) =>
          run(
            { workers: { script: Worker.always(Worker.finish("20 seconds", { a: 1 })) } },
            Effect.gen(function*() {
              const job = yield* submit
              yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status"), Fault.during(0, "15 seconds")))
              const calm = { ...everySecond, retry: Schedule.spaced("1 second") }
              const dying = JobStream.result(job, { ...calm, [schedule]: dyingAt(step) })
              const [exit, outputs] = yield* Effect.all([
                Effect.exit(Effect.delay(dying, begins)),
                Effect.delay(JobStream.result(job, calm), other),
                Effect.timeoutOption(Effect.delay(JobStream.result(job, { ...calm }), other), leaves)
              ], { concurrency: "unbounded" })
              assert.isTrue(isDefect(exit))
              assert.deepStrictEqual(outputs, { a: 1 })
              const { length } = yield* polls
              yield* Effect.sleep("1 hour")
              assert.strictEqual((yield* polls).length, length)
            })
          )
      ),
      { numRuns: runs(8, 24) }
    )
  })

  it.effect("a cadence that dies while its watch joins leaves no poller behind", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const first = yield* Effect.fork(JobStream.result(job, everySecond))
      yield* Effect.sleep("2500 millis")
      assert.isTrue(isDefect(yield* Effect.exit(JobStream.result(job, { cadence: dyingAt(0) }))))
      yield* Effect.sleep("2 seconds")
      yield* Fiber.interrupt(first)
      const { length } = yield* polls
      assert.strictEqual(length, 5)
      yield* Effect.sleep("1 hour")
      assert.strictEqual((yield* polls).length, length)
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("a watch with a slow cadence can be interrupted, and delays no other watch", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const slow = Schedule.spaced("1 second").pipe(Schedule.mapEffect(() => Effect.sleep("1 hour")))
      const first = yield* Effect.fork(Stream.runDrain(JobStream.transitions(job, everySecond)))
      yield* Effect.sleep("2500 millis")
      const second = yield* Effect.fork(Stream.runDrain(JobStream.transitions(job, { cadence: slow })))
      yield* Effect.sleep("2 seconds")
      yield* Fiber.interrupt(second)
      assert.strictEqual(yield* Clock.currentTimeMillis, (yield* TestJobQueue.startedAt) + 4_500)
      yield* Fiber.interrupt(first)
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it("a subscriber that joins and leaves repeatedly receives the retained snapshot, and polls only when the cadence is due", async () => {
    const shared = Cadence.fixed("2 seconds")
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.constantFrom(() => shared, () => Cadence.fixed("2 seconds"), () => Schedule.spaced("2 seconds")),
        FastCheck.boolean(),
        FastCheck.integer({ min: 1, max: 40 }),
        (cadence, isShared, pause) =>
          run(
            { workers: { script: Worker.always(Worker.finish("1 minute")) } },
            Effect.gen(function*() {
              const job = yield* submit
              if (isShared) yield* Effect.fork(Stream.runDrain(JobStream.statuses(job, { cadence: cadence() })))
              const mounts = yield* Effect.replicateEffect(
                Effect.zipRight(
                  Effect.sleep(pause),
                  // takes the first snapshot and leaves
                  Stream.runHead(JobStream.statuses(job, { cadence: cadence() }))
                ),
                60
              )
              for (const status of mounts) assert.isTrue(Option.isSome(status))
              // the first pause of a cadence may be any part of it
              assert.isAtMost((yield* polls).length, 2 + Math.ceil((60 * pause) / 500))
            })
          )
      ),
      { numRuns: runs(5, 16) }
    )
  })

  it.effect("many watches with equal policies cost no more polls than one", () =>
    Effect.gen(function*() {
      const pollsOf = (watches: number) =>
        Effect.gen(function*() {
          const job = yield* submit
          const watch = Effect.suspend(() => JobStream.result(job, { deadline: Deadline.request("5 seconds") }))
          yield* Effect.all(Array.from({ length: watches }, () => watch), { concurrency: "unbounded" })
          return (yield* polls).length
        }).pipe(
          VirtualTime.run,
          Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("10 minutes")) } }))
        )
      assert.strictEqual(yield* pollsOf(10), yield* pollsOf(1))
    }))

  it.effect("a snapshot is retained until the cadence is due, and its poller resumes where it was", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const cadence = { cadence: Schedule.spaced("5 seconds") }
      const look = Stream.runHead(JobStream.statuses(job, cadence))
      yield* look
      yield* Effect.sleep("3 seconds")
      yield* look
      // the next poll is when it is due
      yield* Effect.timeoutOption(Stream.runDrain(JobStream.statuses(job, cadence)), "3 seconds")
      yield* Effect.sleep("1 hour")
      yield* look
      yield* TestJobQueue.expectPolls(job, [0, 5, 3_606].map(Duration.seconds))
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("a subscriber that rejoins a job in trouble polls no sooner than its retry allows, and has all of its retries", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status")))
      const retry = Schedule.intersect(Schedule.spaced("2 seconds"), Schedule.recurs(2))
      const watch = JobStream.result(job, { ...everySecond, retry })
      yield* Effect.replicateEffect(Effect.timeoutOption(watch, "100 millis"), 10)
      yield* TestJobQueue.expectPolls(job, 1)
      assert.strictEqual((yield* Effect.flip(watch))._tag, "Unavailable")
      yield* TestJobQueue.expectPolls(job, [0, 2, 4, 6].map(Duration.seconds))
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("a job whose subscriber leaves before the poll that confirms an expired deadline is polled for the next subscriber", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.rateLimited("20 seconds").pipe(Fault.on("status"), Fault.nth(1)))
      const first = JobStream.result(job, { ...everySecond, deadline: Deadline.total("5 seconds") })
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(first, "10 seconds")))
      yield* Effect.sleep("2 seconds")
      yield* Effect.timeoutOption(JobStream.result(job, everySecond), "8500 millis")
      yield* TestJobQueue.expectPolls(job, [0, 20].map(Duration.seconds))
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("at most 1,000 snapshots are retained", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 1_000 + 1)
      const look = (job: Job.JobRef) => Stream.runHead(JobStream.statuses(job, { cadence: Schedule.spaced("1 hour") }))
      yield* Effect.forEach(jobs, look, { discard: true })
      yield* look(jobs[1]!)
      yield* TestJobQueue.expectPolls(jobs[1]!, 1)
      yield* look(jobs[0]!)
      yield* TestJobQueue.expectPolls(jobs[0]!, 2)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { pollsPerSecond: 10_000 } }))))

  it.effect("a timer and a request that are lost with their watch do not block the next watch", () =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([submit, submit])
      yield* TestJobQueue.inject(Fault.delay("100 millis").pipe(Fault.on("status")))
      /** Runs an effect as a Cloudflare Worker runs a request: when it ends, its timers are lost and nothing runs. */
      const asRequest = <A, E, R>(effect: Effect.Effect<A, E, R>, ends: Effect.Effect<void>) =>
        Effect.gen(function*() {
          const clock = yield* Effect.clock
          let isOver = false
          yield* Effect.fork(Effect.zipRight(ends, Effect.sync(() => isOver = true)))
          const sleep = (duration: Duration.Duration) =>
            Effect.zipRight(clock.sleep(duration), Effect.suspend(() => isOver ? Effect.never : Effect.void))
          return yield* Effect.withClock(effect, Object.assign(Object.create(clock), { sleep }))
        })
      // the first request ends during a poll, the second one during a pause
      yield* Effect.forkDaemon(asRequest(JobStream.result(one, everySecond), Effect.sleep("2150 millis")))
      yield* Effect.sleep("5 seconds")
      yield* Effect.forkDaemon(asRequest(JobStream.result(other, everySecond), Effect.sleep("3500 millis")))
      yield* Effect.sleep("10 seconds")
      const [time] = yield* Effect.timed(asRequest(
        Effect.all([JobStream.result(one, everySecond), JobStream.result(other, everySecond)], { concurrency: 2 }),
        Effect.never
      ))
      assert.isAtMost(Duration.toMillis(time), 8_000)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { workers: 2, script: Worker.always(Worker.finish("20 seconds")) } }))
    ))

  it.effect("a timer that fires late is replaced by a new watch, also by one of a job that has ended", () =>
    Effect.gen(function*() {
      const [ended, one] = yield* Effect.all([submit, submit])
      yield* JobStream.result(ended, everySecond)
      const clock = yield* Effect.clock
      const late = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) => clock.sleep(Duration.sum(duration, "1 day"))
      })
      const result = yield* Effect.fork(Effect.withClock(JobStream.result(one, everySecond), late))
      yield* Effect.sleep("5 seconds")
      yield* Effect.fork(Stream.runDrain(JobStream.watchAll(Stream.concat(Stream.make(ended), Stream.never))))
      const [time] = yield* Effect.timed(Fiber.join(result))
      assert.isAtMost(Duration.toMillis(time), 30_000)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        workers: { script: Worker.always(Worker.finish("3 seconds")) }
      }))
    ))

  it.effect("when the scope of the watcher closes, every poll ends and every subscriber is interrupted", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.ofJob(job)))
      const fibers = yield* Effect.gen(function*() {
        const watcher = yield* JobWatcher.make()
        const fibers = [
          yield* Effect.fork(
            Effect.asVoid(Effect.provideService(JobStream.result(job), JobWatcher.JobWatcher, watcher))
          ),
          yield* Effect.fork(
            Stream.runDrain(Stream.provideService(JobStream.transitions(job), JobWatcher.JobWatcher, watcher))
          ),
          yield* Effect.fork(
            Stream.runDrain(Stream.provideService(JobStream.watchAll(Stream.make(job)), JobWatcher.JobWatcher, watcher))
          )
        ]
        yield* Effect.sleep("1 second")
        return fibers
      }).pipe(Effect.scoped)
      assert.strictEqual((yield* polls)[0]?.end?.outcome, "interrupted")
      for (const fiber of fibers) assert.isTrue(Exit.isInterrupted(yield* Fiber.await(fiber)))
      yield* Effect.sleep("1 hour")
      assert.strictEqual((yield* polls).length, 1)
    }).pipe(VirtualTime.run, Effect.provide(layer())))
})

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

describe("policies", () => {
  it.effect("each subscriber has its own deadlines and its own error", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const errorOf = (deadline: Deadline.Deadline, begins: Duration.DurationInput = 0) =>
        Effect.flip(Effect.delay(JobStream.result(job, { ...everySecond, deadline }), begins))
      const [pending, total, late] = yield* Effect.all([
        errorOf(Deadline.pending("5 seconds")),
        errorOf(Deadline.total("7 seconds")),
        // its deadline starts when it joins
        errorOf(Deadline.cancelPending(Deadline.pending("5 seconds")), "4500 millis")
      ], { concurrency: "unbounded" })
      assert(pending._tag === "PendingTooLong" && pending.cancel === undefined)
      assert.strictEqual(pending.lastSeen?.status._tag, "Pending")
      assert.deepStrictEqual(pending.lastSeen?.age, Duration.seconds(1))
      assert(total._tag === "WatchTimeout")
      assert(late._tag === "PendingTooLong" && late.cancel?._tag === "Canceled")
      yield* TestJobQueue.expectPolls(job, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(Duration.seconds))
      assert.deepStrictEqual(steps(yield* TestJobQueue.transitions(job)), ["Queued 0", "Canceled 0"])
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("an unknown state ends only the watches whose option says so", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(
        Fault.unknownStatus("paused").pipe(Fault.on("status"), Fault.during("2500 millis", "3500 millis"))
      )
      const seen = (unrecognized: "fail" | "ignore" | "end") => {
        const reported: Array<Transition.Transition> = []
        return JobStream.transitions(job, { ...everySecond, unrecognized }).pipe(
          Stream.runForEach((step) => Effect.sync(() => reported.push(step))),
          Effect.either,
          Effect.map((end) => ({ end, reported: steps(reported) }))
        )
      }
      const [fail, ignore, end] = yield* Effect.all([seen("fail"), seen("ignore"), seen("end")], {
        concurrency: "unbounded"
      })
      assert(fail.end._tag === "Left" && fail.end.left._tag === "UnrecognizedStatus")
      assert.deepStrictEqual(fail.reported, ["Queued 0", "Claimed 1"])
      assert.deepStrictEqual(end.reported, ["Queued 0", "Claimed 1", "Unrecognized 1"])
      assert.deepStrictEqual(ignore.reported, ["Queued 0", "Claimed 1", "Completed 1"])
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("6 seconds")) } }))
    ))

  it.effect("two results of one job agree, even if the service omits the number of retries", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const [shared, alone] = yield* Effect.all([
        Effect.flip(JobStream.result(job, everySecond)),
        Effect.flip(JobStream.result(job, everySecond))
      ], { concurrency: 2 })
      assert(shared._tag === "JobRetriesExhausted" && alone._tag === "JobRetriesExhausted")
      assert.deepStrictEqual([shared.attempts, shared.job], [alone.attempts, alone.job])
      // as the service reported it
      assert(Option.isNone(shared.snapshot.retries))
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        workers: { claimTimeout: "5 seconds", pickup: "3 seconds", script: Worker.always(Worker.stopResponding) },
        faults: [Fault.mapStatus((status) => ({ ...status, retries: Option.none() }))]
      }))
    ))

  it.effect("each subscriber has its own retry, and a request takes no longer than the shortest request timeout", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.on("status"), Fault.during(0, "8 seconds")))
      const watch = (retry: Retry.Retry, request: Duration.DurationInput) =>
        JobStream.result(job, { ...everySecond, retry, deadline: Deadline.request(request) })
      const [impatient, patient] = yield* Effect.all([
        Effect.flip(watch(Schedule.recurs(0), "2 seconds")),
        watch(Schedule.spaced("3 seconds"), "5 seconds")
      ], { concurrency: "unbounded" })
      assert(impatient._tag === "ResponseTimeout")
      assert.deepStrictEqual(impatient.after, Duration.seconds(2))
      assert.deepStrictEqual(patient, {})
      // timed out after 2 seconds, retried after 3; the next has the 5 seconds of the remaining watch. A request without
      // a response is sent again: after 1 second, and 2 seconds later
      yield* TestJobQueue.expectPolls(job, [0, 1, 5, 6, 8, 9].map(Duration.seconds))
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("9 seconds")) } }))
    ))

  it.effect("a subscriber that joins while another one waits for its retry polls by its own retry", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status"), Fault.during(0, "20 seconds")))
      const retry = (pause: Duration.DurationInput) => ({ ...everySecond, retry: Schedule.spaced(pause) })
      const first = yield* Effect.fork(JobStream.result(job, retry("30 minutes")))
      yield* Effect.sleep("10 seconds")
      const second = yield* Effect.fork(JobStream.result(job, retry("5 seconds")))
      // it does not retry, and fails with the error of this request
      const third = yield* Effect.fork(Effect.flip(JobStream.result(job, { ...everySecond, retry: Schedule.stop })))
      assert.strictEqual((yield* Fiber.join(third))._tag, "Unavailable")
      yield* Fiber.join(second)
      yield* Fiber.join(first)
      yield* TestJobQueue.expectPolls(job, [0, 10, 15, 20, 21].map(Duration.seconds))
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("21 seconds")) } }))
    ))

  it.effect("a subscriber that joins does not poll before Retry-After", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(
        Fault.unavailable({ retryAfter: "20 seconds" }).pipe(Fault.on("status"), Fault.nth(1))
      )
      const watch = (retry: Retry.Retry) => JobStream.result(job, { ...everySecond, retry })
      yield* Effect.all([
        watch(Schedule.spaced("1 hour")),
        watch(Schedule.spaced("1 second")),
        Effect.delay(watch(Schedule.spaced("2 seconds")), "5 seconds")
      ], { concurrency: "unbounded" })
      yield* TestJobQueue.expectPolls(job, [0, 20].map(Duration.seconds))
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("19 seconds")) } }))
    ))

  it.effect("a Retry-After holds for all watches of the job, also for one whose own retry comes sooner", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status"), Fault.nth(1)))
      // the response to the retry of one watch, while the other waits for its own, at 10 seconds
      yield* TestJobQueue.inject(
        Fault.unavailable({ retryAfter: "20 seconds" }).pipe(Fault.on("status"), Fault.nth(2))
      )
      yield* Effect.all(
        [1, 10].map((pause) =>
          JobStream.result(job, { ...everySecond, retry: Schedule.spaced(Duration.seconds(pause)) })
        ),
        { concurrency: "unbounded" }
      )
      yield* TestJobQueue.expectPolls(job, [0, 1, 21].map(Duration.seconds))
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("19 seconds")) } }))
    ))

  it.effect("a successful response resets the retry", () =>
    Effect.gen(function*() {
      const job = yield* submit
      // 59 failures, each followed by a success
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.where(({ nth }) => nth % 2 === 0)))
      const watch = (pause: Duration.DurationInput) =>
        JobStream.result(job, {
          ...everySecond,
          retry: Schedule.intersect(Schedule.spaced(pause), Schedule.recurs(3))
        })
      yield* Effect.all([watch("1 second"), watch("2 seconds")], { concurrency: "unbounded" })
      assert.isAtLeast((yield* polls).length, 60)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("1 minute")) } }))
    ))

  it.effect("a defect of the queue is a defect of its watches", () =>
    Effect.gen(function*() {
      const watcher = yield* JobWatcher.make().pipe(
        Effect.provide(Layer.mock(JobQueue.JobQueue, { status: () => Effect.die("a bug") }))
      )
      const exit = yield* Effect.exit(
        Effect.provideService(JobStream.result(Job.ref(model, "one")), JobWatcher.JobWatcher, watcher)
      )
      assert(Exit.isFailure(exit) && Cause.isDie(exit.cause))
    }).pipe(Effect.scoped))
})

// -----------------------------------------------------------------------------
// the budget
// -----------------------------------------------------------------------------

const eventsOf = Effect.gen(function*() {
  const reported: Array<JobWatcher.PollingEvent> = []
  yield* Effect.fork(Stream.runForEach(JobWatcher.pollingEvents, (event) => Effect.sync(() => reported.push(event))))
  yield* Effect.yieldNow()
  return reported
})

/** Watches these jobs for some time, and returns the polls. */
const pollsWithin = (
  jobs: ReadonlyArray<Job.JobRef>,
  time: Duration.DurationInput,
  options: { readonly cadence: Cadence.Cadence } = everySecond
) =>
  JobStream.watchAll(Stream.fromIterable(jobs), options).pipe(
    Stream.runDrain,
    Effect.timeoutOption(time),
    Effect.zipRight(polls)
  )

describe("a service that responds with 429", () => {
  it.effect("is paused once for all jobs until Retry-After, and then polled for one job after another", () =>
    Effect.gen(function*() {
      const reported = yield* eventsOf
      const jobs = yield* Effect.forEach(
        Array.from({ length: 40 }, (_, i) => `model ${i % 4}`),
        (name) => submitTo(name)
      )
      yield* TestJobQueue.inject(Fault.rateLimited("30 seconds").pipe(Fault.on("status"), Fault.nth(100)))
      const calls = yield* pollsWithin(jobs, "1 minute")
      const at = calls[99]!.at
      assert.strictEqual(calls.filter((call) => call.at > at && call.at < at + 30_000).length, 0)
      assert.strictEqual(calls[99]!.end?.outcome, "RateLimited")
      // the cadence is one second, so all jobs are polled within the next second, but not at once
      const back = calls.filter((call) => call.at >= at + 30_000 && call.at < at + 31_100)
      assert.strictEqual(new Set(back.map(({ requestId }) => requestId)).size, 40)
      for (let part = 0; part < 10; part++) {
        const from = at + 30_000 + 100 * part
        assert.isAtMost(back.filter((call) => call.at >= from && call.at < from + 100).length, 10)
      }
      const pauses = reported.filter(({ _tag }) => _tag === "PollingPaused")
      assert.strictEqual(pauses.length, 1)
      assert(pauses[0]?._tag === "PollingPaused" && pauses[0].until.epochMillis === at + 30_000)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ watcher: { queueOrder: "never" as const, pollsPerSecond: 1_000 } }))
    ))

  it.effect("without Retry-After is paused longer each time", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const others = yield* Effect.replicateEffect(submit, 3)
      yield* TestJobQueue.inject(
        Fault.rateLimited().pipe(Fault.on("status"), Fault.during("5500 millis", "20 seconds"))
      )
      yield* Effect.fork(pollsWithin([job, ...others], "40 seconds"))
      yield* Effect.sleep("45 seconds")
      const refused = (yield* polls).filter(({ end }) => end?.outcome === "RateLimited").map(({ at }) => at)
      const [first] = refused
      // 1, 2, 4 and 8 seconds
      const begun = refused.filter((at, i) => i === 0 || at > refused[i - 1]!)
      assert.isAtMost(begun.length, 5)
      assert.isAtLeast(begun.at(-1)! - first!, 7_000)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("is paused until the latest Retry-After, even if a later response has a shorter one", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 3)
      yield* TestJobQueue.inject(
        Fault.rateLimited("30 seconds").pipe(Fault.ofJob(jobs[0]!), Fault.during(0, "1 second"))
      )
      yield* TestJobQueue.inject(Fault.delay("1 second").pipe(Fault.ofJob(jobs[1]!), Fault.during(0, "1 second")))
      yield* TestJobQueue.inject(Fault.rateLimited("1 second").pipe(Fault.ofJob(jobs[1]!), Fault.during(0, "1 second")))
      yield* pollsWithin(jobs, "40 seconds")
      const times = (yield* polls).map(({ at }) => at).filter((at) => at > 0)
      assert.isAtLeast(Math.min(...times), 30_000)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("a watch of another job ends at its deadline while all polls are paused", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 2)
      yield* TestJobQueue.inject(
        Fault.rateLimited("1 hour").pipe(Fault.ofJob(jobs[0]!), Fault.during("1500 millis", "1 hour"))
      )
      yield* Effect.fork(JobStream.result(jobs[0]!, everySecond))
      const start = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(
        JobStream.result(jobs[1]!, { ...everySecond, deadline: Deadline.total("20 seconds") })
      )
      assert.strictEqual(error._tag, "WatchTimeout")
      assert.strictEqual((yield* Clock.currentTimeMillis) - start, 20_000)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" } }))))

  it.effect("without Retry-After is paused for one second again after a success", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(Fault.rateLimited().pipe(Fault.where(({ nth }) => nth % 2 === 0)))
      yield* pollsWithin([job], "40 seconds")
      const times = (yield* polls).map(({ at }) => at)
      assert.isAtMost(Math.max(...times.slice(1).map((at, i) => at - times[i]!)), 1_000)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("a 503 pauses only its own job", () =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([submit, submit])
      yield* TestJobQueue.inject(Fault.unavailable({ retryAfter: "20 seconds" }).pipe(Fault.ofJob(one)))
      yield* pollsWithin([one, other], "9500 millis")
      yield* TestJobQueue.expectPolls(one, 1)
      yield* TestJobQueue.expectPolls(other, 10)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))
})

// -----------------------------------------------------------------------------
// queue order
// -----------------------------------------------------------------------------

const submitMany = (count: number, priority: (i: number) => number = () => 0) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => i),
    (i) => Effect.zipLeft(submitTo(model, priority(i)), Effect.sleep("1 millis"))
  )

const busy = { pollsPerSecond: 100_000 }

describe("queue order", () => {
  it.effect("a thousand pending jobs are polled at less than 2 % of their cadence", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(1_000)
      const calls = yield* pollsWithin(jobs, "1 minute")
      assert.isBelow(calls.length, 0.02 * 60_000)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: busy }))))

  it.effect("is not used with `queueOrder: never`", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(50)
      const calls = yield* pollsWithin(jobs, "9500 millis")
      assert.strictEqual(calls.length, 500)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { ...busy, queueOrder: "never" as const } }))))

  it.effect("a job that becomes next in the queue is polled at once", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(12)
      const claimed = JobStream.watchAll(Stream.fromIterable(jobs), everySecond).pipe(
        Stream.filter((step) => step._tag === "Claimed")
      )
      const late = Array.from(yield* Stream.runCollect(claimed), ({ at, observedAt }) =>
        observedAt.epochMillis - Option.getOrThrow(at).epochMillis)
      assert.strictEqual(late.length, 12)
      // four jobs are claimed at a time, more than are polled at the head of the queue
      assert.isAtMost(Math.max(...late), 1_000)
    }).pipe(
      VirtualTime.run,
      Effect.provide(
        layer({ watcher: busy, workers: { workers: 4, script: Worker.always(Worker.finish("5 seconds")) } })
      )
    ))

  it("every claim is seen within two minutes and no transition is lost, for any priorities", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        FastCheck.array(FastCheck.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 25 }),
        FastCheck.integer({ min: 1, max: 4 }),
        FastCheck.boolean(),
        async (pool, priorities, workers, isForeign) => {
          await run(
            { workers: { ...pool, workers }, watcher: busy },
            Effect.gen(function*() {
              const reported = yield* eventsOf
              const jobs = yield* submitMany(priorities.length, (i) => priorities[i]!)
              const seen: Array<Transition.Transition> = []
              const watching = yield* Effect.fork(
                JobStream.watchAll(Stream.fromIterable(jobs), everySecond).pipe(
                  Stream.runForEach((step) =>
                    Effect.sync(() => {
                      if (step._tag !== "WatchFailed") seen.push(step)
                    })
                  )
                )
              )
              if (isForeign) yield* Effect.forEach([1, 2, 3], () => Effect.delay(submitTo(model, 3), "7 seconds"))
              yield* Fiber.join(watching)
              const ofJob = groupBy(seen, ({ job }) => job.requestId)
              for (const job of jobs) yield* TestJobQueue.expectMatchesHistory(job, ofJob.get(job.requestId) ?? [])
              for (const step of seen) {
                if (step._tag !== "Claimed" || Option.isNone(step.at)) continue
                const late = step.observedAt.epochMillis - step.at.value.epochMillis
                assert.isAtMost(late, 120_000)
                note(late > 2_000 ? "late" : "soon")
              }
              // the service keeps the queue order, and a requeued job keeps its place
              assert.isFalse(reported.some(({ _tag }) => _tag === "QueueOrderViolated"))
            })
          )
        }
      ),
      { numRuns: runs(8, 24) }
    )
    met("soon")
  })

  it.effect("a job in trouble that becomes next is not polled before its Retry-After", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(6)
      // it is polled after 2 minutes at the latest, and becomes next after 3, when the first is claimed
      yield* TestJobQueue.inject(
        Fault.unavailable({ retryAfter: "10 minutes" }).pipe(Fault.ofJob(jobs[3]!), Fault.nth(2))
      )
      yield* pollsWithin(jobs, "15 minutes")
      const times = (yield* polls).filter(({ requestId }) => requestId === jobs[3]!.requestId).map(({ at }) => at)
      assert.isAtMost(times[1]!, 130_000)
      assert.isAtLeast(times[2]! - times[1]!, 600_000)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        watcher: busy,
        workers: { pickup: "3 minutes", script: Worker.always(Worker.finish("20 minutes")) }
      }))
    ))

  it.effect("if a job is claimed before its turn, all jobs of its model are polled at their cadence again", () =>
    Effect.gen(function*() {
      const reported = yield* eventsOf
      const times = new Map<string, number>()
      // a service that gives the last job to a worker first
      const jobs = Array.from({ length: 20 }, (_, i) => Job.ref(model, `job ${i}`))
      const { createdAt } = yield* Effect.flatMap(submit, JobQueue.status) as Effect.Effect<Job.JobStatus>
      let now = 0
      const watcher = yield* JobWatcher.make({ ...busy, queueOrder: "always" }).pipe(
        Effect.provide(Layer.mock(JobQueue.JobQueue, {
          status: (job) =>
            Effect.map(Clock.currentTimeMillis, (at) => {
              now = at
              times.set(job.requestId, (times.get(job.requestId) ?? 0) + 1)
              const i = Number(job.requestId.slice(4))
              const created = Option.map(createdAt, (time) => DateTime.unsafeMake(time.epochMillis + i))
              const common = { job, createdAt: created, retries: Option.some(0) }
              return i === 19 && at > 30_000 ? Job.Running(common) : Job.Pending(common)
            })
        }))
      )
      const lost = yield* Effect.fork(Stream.runHead(watcher.pollingEvents))
      yield* Effect.fork(
        Stream.runDrain(
          Stream.provideService(
            JobStream.watchAll(Stream.fromIterable(jobs), everySecond),
            JobWatcher.JobWatcher,
            watcher
          )
        )
      )
      yield* Effect.sleep("29 seconds")
      assert.strictEqual(times.get("job 10"), 1)
      const event = yield* Fiber.join(lost)
      assert(Option.isSome(event) && event.value._tag === "QueueOrderViolated" && event.value.model === model)
      const before = times.get("job 10")!
      assert.isAtMost(now, 30_000 + 120_000)
      yield* Effect.sleep("10 seconds")
      assert.isAtLeast(times.get("job 10")! - before, 9)
      assert.deepStrictEqual(reported, [])
    }).pipe(Effect.scoped, VirtualTime.run, Effect.provide(layer())))

  it.effect("a requeued job that waits while a later one runs does not violate the queue order", () =>
    Effect.gen(function*() {
      const jobs = Array.from({ length: 8 }, (_, i) => Job.ref(model, `job ${i}`))
      const created = DateTime.unsafeMake(0)
      const watcher = yield* JobWatcher.make({ ...busy, queueOrder: "always" }).pipe(
        Effect.provide(Layer.mock(JobQueue.JobQueue, {
          status: (job) =>
            Effect.gen(function*() {
              const i = Number(job.requestId.slice(4))
              const at = yield* Clock.currentTimeMillis
              // the claim of the fourth job is seen late: the first has lost its worker by then
              if (i === 3 && at >= 2_000 && at < 12_000) yield* Effect.sleep(12_000 - at)
              const common = { job, createdAt: Option.some(DateTime.add(created, { millis: i })) }
              if (i > 3 || at < 2_000) return Job.Pending({ ...common, retries: Option.some(0) })
              return i === 0 && at >= 10_000
                ? Job.Pending({ ...common, retries: Option.some(1) })
                : Job.Running({ ...common, retries: Option.some(0) })
            })
        }))
      )
      const lost = yield* Effect.fork(Stream.runHead(watcher.pollingEvents))
      yield* Effect.fork(
        Stream.runDrain(
          Stream.provideService(
            JobStream.watchAll(Stream.fromIterable(jobs), everySecond),
            JobWatcher.JobWatcher,
            watcher
          )
        )
      )
      yield* Effect.sleep("1 minute")
      assert(Option.isNone(yield* Fiber.poll(lost)))
    }).pipe(Effect.scoped, VirtualTime.run, Effect.provide(layer())))
})

// -----------------------------------------------------------------------------
// many jobs
// -----------------------------------------------------------------------------

describe("watchAll", () => {
  it.effect("emits the transitions of all jobs as references arrive, and continues if one can't be watched", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 5)
      const [first] = jobs
      const unknown = Job.ref(model, "no such job")
      const refs = Stream.fromIterable([...jobs, unknown, first!]).pipe(
        Stream.schedule(Schedule.spaced("1 second")),
        Stream.rechunk(1)
      )
      const reported = yield* Stream.runCollect(JobStream.watchAll(refs, { ...everySecond, retry: Schedule.stop }))
      const failed = Array.from(reported).filter((step) => step._tag === "WatchFailed")
      assert.deepStrictEqual(failed.map(({ error, job }) => [error._tag, job]), [["JobNotFound", unknown]])
      for (const job of jobs) {
        const life = Array.from(reported).filter((step): step is Transition.Transition =>
          step._tag !== "WatchFailed" && step.job.requestId === job.requestId
        )
        yield* TestJobQueue.expectMatchesHistory(job, life)
      }
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        workers: { workers: 2, script: Worker.always(Worker.progress("2 seconds", 0.5), Worker.finish("9 seconds")) }
      }))
    ))

  it.effect("takes references no faster than its events are consumed, and loses no event", () =>
    Effect.gen(function*() {
      let taken = 0
      const refs = Stream.repeatEffect(Effect.tap(submit, () => Effect.sync(() => taken++))).pipe(
        Stream.take(2_500),
        Stream.rechunk(1)
      )
      let reported = 0
      yield* JobStream.watchAll(refs, { cadence: Schedule.spaced("1 minute") }).pipe(
        Stream.tap(() =>
          Effect.suspend(() => {
            reported++
            return reported === 1 ? Effect.sleep("1 hour") : Effect.void
          })
        ),
        Stream.tap(() => Effect.sync(() => reported === 1 ? assert.isAtMost(taken, 1_500) : undefined)),
        Stream.takeUntil((step) => step._tag === "Completed" && reported >= 7_500),
        Stream.runDrain
      )
      assert.strictEqual(reported, 7_500)
      assert.strictEqual(taken, 2_500)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        watcher: { ...busy, queueOrder: "never" as const },
        workers: { workers: 10_000, script: Worker.always(Worker.finish("1 second")) }
      }))
    ))

  it.effect("fails with the error of the references, and reports a job whose deadline has passed", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const failing = Stream.concat(Stream.make(job), Stream.fail("no more"))
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(JobStream.watchAll(failing))), "no more")
      const deadline = Deadline.cancelPending(Deadline.pending("5 seconds"))
      const reported = yield* Stream.runCollect(JobStream.watchAll(Stream.make(job), { ...everySecond, deadline }))
      const last = Option.getOrThrow(Chunk.last(reported))
      assert(last._tag === "WatchFailed" && last.error._tag === "PendingTooLong")
      assert.strictEqual(last.error.cancel?._tag, "Canceled")
    }).pipe(VirtualTime.run, Effect.provide(layer())))
})

// -----------------------------------------------------------------------------
// metrics
// -----------------------------------------------------------------------------

const counted = (name: string, tagged: string): Effect.Effect<number> =>
  Effect.map(Metric.snapshot, (pairs) => {
    const found = pairs.find(({ metricKey }) =>
      metricKey.name === `effect_queue_status_${name}` &&
      (tagged === "" ? metricKey.tags.length === 0 : metricKey.tags.some(({ value }) => value === tagged))
    )
    const state = found?.metricState as { readonly count?: number; readonly value?: number } | undefined
    return Number(state?.count ?? state?.value ?? 0)
  })

describe("metrics", () => {
  it.effect("report what the watcher does and the polls that it saves, by model", () =>
    Effect.gen(function*() {
      const name = "my-org/counted"
      const jobs = yield* Effect.forEach(Array.from({ length: 10 }), () => submitTo(name))
      const all = yield* Effect.fork(Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), everySecond)))
      const one = yield* Effect.fork(JobStream.result(jobs[0]!, everySecond))
      yield* Effect.sleep("200 seconds")
      assert.strictEqual(yield* counted("watcher_watches", ""), 11)
      assert.strictEqual(yield* counted("watcher_pollers", ""), 10)
      assert.strictEqual(yield* counted("watcher_queue_depth", name), 10)
      assert.isAbove(yield* counted("watcher_budget_use", ""), 0)
      const made = (yield* polls).length
      assert.strictEqual(yield* counted("watcher_polls", name), made)
      assert.strictEqual(yield* counted("watcher_staleness_millis", name), made)
      // without sharing, the second watch would poll as often as the first
      assert.isAtLeast(yield* counted("watcher_polls_saved_by_sharing", name), 190)
      assert.isAtLeast(yield* counted("watcher_polls_saved_by_queue_order", name), 7 * 80)
      yield* Fiber.interruptAll([all, one])
      assert.strictEqual(yield* counted("watcher_watches", ""), 0)
      assert.strictEqual(yield* counted("watcher_pollers", ""), 0)
      assert.strictEqual(yield* counted("watcher_queue_depth", name), 0)
    }).pipe(VirtualTime.run, Effect.provide(layer())))

  it.effect("count the running jobs, and the polls of each that has ended", () =>
    Effect.gen(function*() {
      const name = "my-org/counted-runs"
      const job = yield* submitTo(name)
      const watch = yield* Effect.fork(JobStream.result(job, everySecond))
      yield* Effect.sleep("2 seconds")
      assert.strictEqual(yield* counted("watcher_running", name), 1)
      yield* watch
      assert.strictEqual(yield* counted("watcher_running", name), 0)
      assert.strictEqual(yield* counted("watcher_polls_per_job", name), 1)
      const pairs = yield* Metric.snapshot
      const sums = pairs.flatMap(({ metricKey: { name: key, tags }, metricState }) =>
        key.endsWith("polls_per_job") && tags.some(({ value }) => value === name) && "sum" in metricState
          ? [metricState.sum]
          : []
      )
      assert.deepStrictEqual(sums, [(yield* polls).length])
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("10 seconds")) } }))
    ))
})

describe("metrics of several watchers", () => {
  it.effect("are those of all of them, and of none after their ends", () =>
    Effect.gen(function*() {
      const name = "my-org/counted-by-two"
      const scope = yield* Scope.make()
      const watched = (jobs: number) =>
        Effect.gen(function*() {
          const watcher = yield* JobWatcher.make()
          for (let i = 0; i < jobs; i++) {
            const job = yield* submitTo(name)
            yield* Effect.forkIn(
              JobStream.result(job).pipe(Effect.provideService(JobWatcher.JobWatcher, watcher)),
              scope
            )
          }
        }).pipe(Scope.extend(scope))
      yield* watched(2)
      yield* watched(1)
      yield* Effect.sleep("5 seconds")
      const all = Effect.all([
        counted("watcher_watches", ""),
        counted("watcher_pollers", ""),
        counted("watcher_queue_depth", name)
      ])
      assert.deepStrictEqual(yield* all, [3, 3, 3])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* all, [0, 0, 0])
    }).pipe(VirtualTime.run, Effect.provide(layer())))
})

describe("an infinite budget", () => {
  it("delays no poll", () =>
    run(
      { watcher: { pollsPerSecond: Infinity, concurrency: Infinity, queueOrder: "auto" } },
      Effect.gen(function*() {
        const jobs = yield* submitMany(500)
        yield* Effect.timeoutOption(
          Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), everySecond)),
          "10 millis"
        )
        assert.lengthOf(yield* polls, 500)
      })
    ))
})

describe("layerConfig", () => {
  it.effect("reads its options from the configuration", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(30)
      yield* Effect.timeoutOption(
        Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), everySecond)),
        "10 seconds"
      )
      assert.isAtMost((yield* polls).length, 21)
    }).pipe(
      VirtualTime.run,
      Effect.provide(
        JobWatcher.layerConfig({ pollsPerSecond: Config.number("POLLS"), queueOrder: Config.succeed("never" as const) })
          .pipe(
            Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["POLLS", "2"]])))),
            Layer.provideMerge(TestJobQueue.layer())
          )
      )
    ))

  it.effect("fails if an option is missing", () =>
    Effect.gen(function*() {
      const layer = JobWatcher.layerConfig({ pollsPerSecond: Config.number("POLLS") }).pipe(
        Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map()))),
        Layer.provide(TestJobQueue.layer())
      )
      assert.isTrue(ConfigError.isConfigError(yield* Effect.flip(Effect.scoped(Layer.build(layer)))))
    }))
})
