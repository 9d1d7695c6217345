import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import { assertSome, deepStrictEqual } from "@effect/vitest/utils"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Cadence, JobQueue, JobStream } from "../../src/index.js"
import { TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"

const now = Clock.currentTimeMillis

/** Records each step with its time: `2000 one`. */
const makeLog = () => {
  const lines: Array<string> = []
  const log = (what: string) => Effect.map(now, (at) => void lines.push(`${at} ${what}`))
  return { lines, log }
}

describe("VirtualTime.run", () => {
  describe("time", () => {
    it.effect("starts at the current time, advances without waiting, and moves the test's clock to the end time", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(1_000)
        const [before, after] = yield* VirtualTime.run(Effect.zip(now, Effect.zipRight(Effect.sleep("6 hours"), now)))
        assert.deepStrictEqual([before, after], [1_000, 21_601_000])
        assert.strictEqual(yield* TestClock.currentTimeMillis, 21_601_000)
        assert.strictEqual(yield* VirtualTime.run(now), 21_601_000)
      }))

    it.effect("advances inside the run when the test adjusts the clock", () =>
      Effect.gen(function*() {
        const times = yield* VirtualTime.run(Effect.gen(function*() {
          const fiber = yield* Effect.fork(Effect.zipRight(Effect.sleep("1 hour"), now))
          yield* TestClock.adjust("2 hours")
          const adjusted = yield* now
          yield* TestClock.setTime(10_000_000)
          return [yield* Fiber.join(fiber), adjusted, yield* now]
        }))
        assert.deepStrictEqual(times, [3_600_000, 7_200_000, 10_000_000])
      }))

    it.effect("is also available in nanoseconds", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(1_000)
        assert.strictEqual(
          yield* VirtualTime.run(Effect.zipRight(Effect.sleep("1500 micros"), Clock.currentTimeNanos)),
          1_001_500_000n
        )
        const [took] = yield* VirtualTime.run(Effect.timed(Effect.sleep("1 day")))
        assert.strictEqual(Duration.toMillis(took), 86_400_000)
      }))

    it.effect("moves the test's clock even if the effect fails, dies or is interrupted", () =>
      Effect.gen(function*() {
        for (const end of [Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
          const before = yield* TestClock.currentTimeMillis
          yield* Effect.exit(VirtualTime.run(Effect.zipRight(Effect.sleep("1 minute"), end)))
          assert.strictEqual((yield* TestClock.currentTimeMillis) - before, 60_000)
        }
      }))

    it.effect("two hours, with a poll each second", () =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model: "my-org/video-generator", payload: {} })
        const outputs = yield* VirtualTime.run(JobStream.result(job, { cadence: Cadence.fixed("1 second") }))
        assert.deepStrictEqual(outputs, { answer: 42 })
        // one at once, one at a random time within the first second, then one each second until the job ends
        const { counts } = TestJobQueue
        assert.strictEqual((yield* counts).status, 2 * 3600 + 2)
        const end = yield* TestClock.currentTimeMillis
        assert.isTrue(7_200_000 <= end && end < 7_201_000, String(end))
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: { script: Worker.always(Worker.finish("2 hours", { answer: 42 })), claimTimeout: "1 day" }
      }))))

    it.effect("a fiber outside that sleeps until then wakes up when the run ends", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const outside = yield* Effect.fork(Effect.zipRight(Effect.sleep("1 hour"), log("outside")))
        const later = yield* Effect.fork(Effect.zipRight(Effect.sleep("3 hours"), log("later")))
        yield* VirtualTime.run(Effect.zipRight(Effect.sleep("2 hours"), log("inside")))
        yield* Fiber.join(outside)
        // the outer fiber wakes at its own time, as under `TestClock` alone
        assert.deepStrictEqual(lines, ["7200000 inside", "3600000 outside"])
        yield* TestClock.adjust("1 hour")
        yield* Fiber.join(later)
        assert.strictEqual(lines[2], "10800000 later")
      }))

    it.live("starts at the system time under the live clock, which is not changed", () =>
      Effect.gen(function*() {
        const before = yield* now
        const [start, end] = yield* VirtualTime.run(Effect.zip(now, Effect.zipRight(Effect.sleep("1 day"), now)))
        const after = yield* now
        assert.isTrue(before <= start && start <= after)
        assert.strictEqual(end - start, 86_400_000)
        assert.isBelow(after - before, 86_400_000)
      }))
  })

  describe("with fake timers of the test runner", () => {
    const everything = [
      ...["setTimeout", "clearTimeout", "setImmediate", "clearImmediate", "setInterval", "clearInterval", "Date"],
      ...["queueMicrotask", "performance"]
    ] as const
    const day = Effect.zip(now, Effect.zipRight(Effect.sleep("1 day"), now))

    afterEach(() => {
      vi.useRealTimers()
      vi.resetModules()
    })

    it("advances under fake timers", async () => {
      vi.useFakeTimers({ toFake: [...everything] })
      const [start, end] = await Effect.runPromise(VirtualTime.run(day))
      assert.strictEqual(end - start, 86_400_000)
    })

    it("advances if the timers were faked before this library was loaded", async () => {
      vi.useFakeTimers({ toFake: [...everything] })
      vi.resetModules()
      const { VirtualTime } = await import("effect-queue-status/testing")
      const [start, end] = await Effect.runPromise(VirtualTime.run(day))
      assert.strictEqual(end - start, 86_400_000)
    })

    it("reports that nothing is left to do", async () => {
      vi.useFakeTimers({ toFake: [...everything] })
      const exit = await Effect.runPromiseExit(VirtualTime.run(Effect.never))
      assert.include(
        Cause.pretty(Exit.isFailure(exit) ? exit.cause : Cause.empty),
        "it waits for what will never happen"
      )
    })
  })

  describe("a sleeping fiber", () => {
    it.effect("wakes in order of time; fibers due at the same instant wake in order of their sleep", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const sleeper = (name: string, ...pauses: ReadonlyArray<Duration.DurationInput>) =>
          Effect.zipRight(Effect.forEach(pauses, Effect.sleep), log(name))
        yield* VirtualTime.run(Effect.all([
          sleeper("a", "3 seconds"),
          sleeper("b", "1 second", "2 seconds"),
          sleeper("c", "2 seconds"),
          sleeper("d", "3 seconds"),
          sleeper("e", 0),
          sleeper("f", "2 seconds", "1 second", 0),
          sleeper("g")
        ], { concurrency: "unbounded" }))
        assert.deepStrictEqual(lines, [
          "0 g",
          "0 e",
          "2000 c",
          "3000 a",
          "3000 d",
          "3000 b",
          "3000 f"
        ])
      }))

    it.effect("wakes in order among a thousand with random delays", () =>
      Effect.gen(function*() {
        const woken: Array<number> = []
        const pauses = Array.from({ length: 1_000 }, (_, i) => (i * 7_919) % 1_009)
        yield* VirtualTime.run(Effect.forEach(
          pauses,
          (pause) => Effect.zipRight(Effect.sleep(pause), Effect.sync(() => void woken.push(pause))),
          { concurrency: "unbounded", discard: true }
        ))
        assert.deepStrictEqual(woken, pauses.slice().sort((a, b) => a - b))
      }))

    it.effect("that is interrupted causes no wakeup and advances no time", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        yield* VirtualTime.run(Effect.gen(function*() {
          const fibers = yield* Effect.forEach(
            [1, 2, 3, 4, 5],
            (n) => Effect.fork(Effect.zipRight(Effect.sleep(`${n} hours`), log(`${n}`)))
          )
          yield* Effect.sleep("90 minutes")
          for (const n of [1, 4]) yield* Fiber.interrupt(fibers[n]!)
          yield* Fiber.join(fibers[2]!)
          yield* Fiber.interrupt(fibers[3]!)
        }))
        assert.deepStrictEqual(lines, ["3600000 1", "10800000 3"])
        assert.strictEqual(yield* TestClock.currentTimeMillis, 10_800_000)
      }))

    it.effect("that sleeps for an infinite duration does not delay the end", () =>
      Effect.gen(function*() {
        const winner = yield* VirtualTime.run(Effect.race(Effect.sleep(Duration.infinity), Effect.sleep("1 second")))
        assert.isUndefined(winner)
        assert.strictEqual(yield* TestClock.currentTimeMillis, 1_000)
      }))
  })

  describe("promises", () => {
    const chain = (length: number): Promise<number> =>
      length === 0 ? Promise.resolve(42) : Promise.resolve().then(() => chain(length - 1))

    it.effect("that need no external event resolve before time advances", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        yield* VirtualTime.run(Effect.all([
          Effect.zipRight(Effect.promise(() => chain(1_000)), log("promise")),
          Effect.zipRight(Effect.sleep("1 millis"), log("sleep"))
        ], { concurrency: "unbounded" }))
        assert.deepStrictEqual(lines, ["0 promise", "1 sleep"])
      }))

    it.effect("of a response body resolve before time advances", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const bodies = [
          () => new Response("x".repeat(100_000)).text(),
          () => new Response(JSON.stringify({ answer: 42 })).json(),
          () => new Response(new Uint8Array(1_000)).arrayBuffer(),
          () =>
            new Response(
              new ReadableStream({
                async start(controller) {
                  for (let i = 0; i < 10; i++) {
                    await chain(10)
                    controller.enqueue(new Uint8Array(10))
                  }
                  controller.close()
                }
              })
            ).arrayBuffer(),
          () => new Response(new Blob(["a", "b"]).stream()).text()
        ]
        yield* VirtualTime.run(Effect.all([
          ...bodies.map((read, i) => Effect.zipRight(Effect.promise(read), log(`body ${i}`))),
          Effect.zipRight(Effect.sleep("1 millis"), log("sleep"))
        ], { concurrency: "unbounded" }))
        assert.sameMembers(lines.slice(0, 5), bodies.map((_, i) => `0 body ${i}`))
        assert.strictEqual(lines[5], "1 sleep")
      }))

    it.effect("that need an external event get some real time if nothing else is scheduled", () =>
      Effect.gen(function*() {
        const after = (millis: number) => Effect.promise(() => new Promise((resolve) => setTimeout(resolve, millis)))
        const [took] = yield* VirtualTime.run(Effect.timed(after(50)))
        assert.strictEqual(Duration.toMillis(took), 0)
        // a timer that was canceled is not scheduled
        const race = Effect.race(Effect.sleep("1 hour"), Effect.sleep("1 day"))
        const [afterRace] = yield* VirtualTime.run(Effect.zipRight(race, Effect.timed(after(50))))
        assert.strictEqual(Duration.toMillis(afterRace), 0)
        // with another timer scheduled, virtual time advances without them
        const outcome = yield* VirtualTime.run(Effect.timeoutOption(after(50), "1 day"))
        deepStrictEqual(outcome, Option.none())
      }))
  })

  describe("ends", () => {
    it.effect("with the exit of the effect", () =>
      Effect.gen(function*() {
        const pause = Effect.sleep("1 minute")
        assert.strictEqual(yield* VirtualTime.run(Effect.as(pause, 42)), 42)
        const exits = yield* Effect.forEach(
          [Effect.fail("no"), Effect.die("no"), Effect.interrupt],
          (end) => Effect.exit(VirtualTime.run(Effect.zipRight(pause, end)))
        )
        deepStrictEqual(exits[0], Exit.fail("no"))
        deepStrictEqual(exits[1], Exit.die("no"))
        assert.isTrue(Exit.isInterrupted(exits[2]!))
      }))

    it.effect("after all finalizers have run, including those that sleep", () =>
      Effect.gen(function*() {
        for (const end of [Effect.void, Effect.fail("no"), Effect.die("no"), Effect.interrupt]) {
          const { lines, log } = makeLog()
          yield* TestClock.setTime(0)
          yield* Effect.exit(VirtualTime.run(
            Effect.sleep("1 minute").pipe(
              Effect.zipRight(end),
              Effect.ensuring(Effect.zipRight(Effect.sleep("10 seconds"), log("finalizer"))),
              Effect.zipRight(Effect.void),
              Effect.onExit(() => log("last"))
            )
          ))
          assert.deepStrictEqual(lines, ["70000 finalizer", "70000 last"])
          assert.strictEqual(yield* TestClock.currentTimeMillis, 70_000)
        }
      }))

    it.effect("after the finalizers of its child fibers have run", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        yield* VirtualTime.run(Effect.gen(function*() {
          yield* Effect.fork(
            Effect.onInterrupt(Effect.never, () => Effect.zipRight(Effect.sleep("10 seconds"), log("child")))
          )
          yield* Effect.sleep("1 second")
        }))
        assert.deepStrictEqual(lines, ["11000 child"])
      }))

    it.effect("when interrupted from outside, after its finalizers have run in virtual time", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const started = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(VirtualTime.run(
          Effect.zipRight(Deferred.succeed(started, undefined), Effect.promise(() => new Promise<never>(() => {})))
            .pipe(
              Effect.onInterrupt(() => Effect.zipRight(Effect.sleep("1 hour"), log("finalizer")))
            )
        ))
        yield* Deferred.await(started)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
        assert.deepStrictEqual(lines, ["3600000 finalizer"])
        assert.strictEqual(yield* TestClock.currentTimeMillis, 3_600_000)
      }))

    it.effect("without waiting for daemon fibers, which then sleep forever", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const daemon = yield* VirtualTime.run(Effect.gen(function*() {
          const daemon = yield* Effect.forkDaemon(
            Effect.forever(Effect.zipRight(Effect.sleep("1 minute"), log("tick")))
          )
          yield* Effect.sleep("150 seconds")
          return daemon
        }))
        assert.deepStrictEqual(lines, ["60000 tick", "120000 tick"])
        yield* TestClock.adjust("1 hour")
        assert.lengthOf(lines, 2)
        // they can still be interrupted
        yield* Fiber.interrupt(daemon)
      }))

    it.effect("with a defect when it waits for an event that can never happen", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(VirtualTime.run(Effect.zipRight(Effect.sleep("90 seconds"), Effect.never)))
        assertSome(
          Option.flatMap(Exit.causeOption(exit), Cause.dieOption).pipe(Option.map(String)),
          "RuntimeException: VirtualTime.run: it waits for what will never happen, or for fibers that are outside of it: " +
            "nothing is left to do after 1m 30s"
        )
        assert.strictEqual(yield* TestClock.currentTimeMillis, 90_000)
      }))

    it.effect("after its finalizers have run when it waits for an event that can never happen", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const exit = yield* Effect.exit(VirtualTime.run(
          Effect.onInterrupt(Effect.never, () => Effect.zipRight(Effect.sleep("1 second"), log("finalizer")))
        ))
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(lines, ["1000 finalizer"])
      }))

    it.effect("with a defect when the limit is passed", () =>
      Effect.gen(function*() {
        const endless = Effect.forever(Effect.sleep("7 seconds"))
        const messageOf = (exit: Exit.Exit<unknown, unknown>) =>
          Option.flatMap(Exit.causeOption(exit), Cause.dieOption).pipe(
            Option.map((defect) => defect instanceof Error ? defect.message : String(defect)),
            Option.getOrNull
          )
        assert.strictEqual(
          messageOf(yield* Effect.exit(VirtualTime.run(endless, { limit: "1 minute" }))),
          "VirtualTime.run: it has not ended within 1m of its own time"
        )
        // the clock stays at the last event before the limit
        assert.strictEqual(yield* TestClock.currentTimeMillis, 56_000)
        assert.strictEqual(
          messageOf(yield* Effect.exit(VirtualTime.run(Effect.sleep("31 days")))),
          "VirtualTime.run: it has not ended within 30d of its own time"
        )
        // an effect that ends at the limit does not exceed it
        assert.isUndefined(yield* VirtualTime.run(Effect.sleep("1 minute"), { limit: "1 minute" }))
      }))
  })

  describe("fibers", () => {
    const Name = FiberRef.unsafeMake("nobody")

    it.effect("inherit fiber refs, and keep the values that the effect sets", () =>
      Effect.gen(function*() {
        yield* FiberRef.set(Name, "outer")
        const clock = yield* Effect.clock
        const seen = yield* VirtualTime.run(Effect.gen(function*() {
          const before = yield* FiberRef.get(Name)
          yield* Effect.sleep("1 second")
          const inFork = yield* Effect.fork(FiberRef.get(Name)).pipe(Effect.flatMap(Fiber.join))
          yield* FiberRef.set(Name, "inner")
          return [before, inFork]
        }))
        assert.deepStrictEqual(seen, ["outer", "outer"])
        assert.strictEqual(yield* FiberRef.get(Name), "inner")
        // except the clock and the scheduler, which are restored
        assert.strictEqual(yield* Effect.clock, clock)
        const end = yield* TestClock.currentTimeMillis
        const fiber = yield* Effect.fork(Effect.sleep("1 second"))
        yield* TestClock.adjust("999 millis")
        assertNoExit(yield* Fiber.poll(fiber))
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(fiber)
        assert.strictEqual(yield* TestClock.currentTimeMillis, end + 1_000)
      }))

    const assertNoExit = (exit: Option.Option<unknown>) => assert.isTrue(Option.isNone(exit))

    it.effect("keep the interruptibility of the outer fiber", () =>
      Effect.gen(function*() {
        const isInterruptible = Effect.checkInterruptible((is) => Effect.succeed(is))
        assert.isTrue(yield* VirtualTime.run(isInterruptible))
        assert.isFalse(yield* Effect.uninterruptible(VirtualTime.run(isInterruptible)))
        const pause = Effect.zipRight(Effect.sleep("1 second"), now)
        assert.strictEqual(yield* Effect.uninterruptible(VirtualTime.run(pause)), 1_000)
      }))

    it.effect("are scheduled fairly: a busy fiber starves neither the other fibers nor the host", () =>
      Effect.gen(function*() {
        let turns = 0
        let host = false
        setImmediate(() => {
          host = true
        })
        yield* VirtualTime.run(Effect.race(
          Effect.forever(Effect.zipRight(Effect.sync(() => void turns++), Effect.yieldNow())),
          Effect.repeat(Effect.yieldNow(), { until: () => host })
        ))
        assert.isAbove(turns, 100)
      }))
  })

  describe("nested runs", () => {
    it.effect("share the same time", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        yield* VirtualTime.run(Effect.gen(function*() {
          yield* Effect.sleep("1 second")
          yield* VirtualTime.run(Effect.zipRight(Effect.sleep("1 hour"), log("inner")))
          yield* log("outer")
        }))
        assert.deepStrictEqual(lines, ["3601000 inner", "3601000 outer"])
        assert.strictEqual(yield* TestClock.currentTimeMillis, 3_601_000)
      }))

    it.effect("keep the inner limit, and obey an outer timeout", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(VirtualTime.run(VirtualTime.run(Effect.sleep("2 hours"), { limit: "1 hour" })))
        assert.match(String(exit), /it has not ended within 1h of its own time/)
        const timedOut = yield* VirtualTime.run(
          Effect.timeoutOption(VirtualTime.run(Effect.sleep("2 hours")), "30 minutes")
        )
        deepStrictEqual(timedOut, Option.none())
      }))
  })

  describe("concurrent runs", () => {
    it.effect("have independent times, and the outer clock never moves back", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const [long, short] = yield* Effect.all([
          VirtualTime.run(Effect.zipRight(Effect.sleep("3 hours"), Effect.zipLeft(now, log("long")))),
          VirtualTime.run(
            Effect.zipRight(
              Effect.repeat(Effect.sleep("1 second"), Schedule.recurs(99)),
              Effect.zipLeft(now, log("short"))
            )
          )
        ], { concurrency: "unbounded" })
        assert.deepStrictEqual([long, short], [10_800_000, 100_000])
        assert.sameMembers(lines, ["100000 short", "10800000 long"])
        assert.strictEqual(yield* TestClock.currentTimeMillis, 10_800_000)
      }))
  })

  describe("other time-based operators", () => {
    it.effect("timeouts", () =>
      Effect.gen(function*() {
        const slow = Effect.as(Effect.sleep("10 seconds"), "slow")
        assertSome(yield* VirtualTime.run(Effect.timeoutOption(slow, "11 seconds")), "slow")
        const exit = yield* Effect.exit(VirtualTime.run(Effect.timeout(slow, "9 seconds")))
        assert.match(String(exit), /TimeoutException/)
        assert.strictEqual(yield* TestClock.currentTimeMillis, 19_000)
      }))

    it.effect("races", () =>
      Effect.gen(function*() {
        const runner = (seconds: number) => Effect.as(Effect.sleep(Duration.seconds(seconds)), seconds)
        assert.strictEqual(yield* VirtualTime.run(Effect.raceAll([runner(3), runner(1), runner(2)])), 1)
        assert.strictEqual(yield* VirtualTime.run(Effect.race(runner(5), Effect.delay(Effect.fail("no"), 1))), 5)
        assert.strictEqual(yield* TestClock.currentTimeMillis, 6_000)
      }))

    it.effect("schedules", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        const backoff = Schedule.exponential("1 second").pipe(Schedule.intersect(Schedule.recurs(4)))
        yield* Effect.exit(VirtualTime.run(Effect.retry(Effect.zipRight(log("try"), Effect.fail("no")), backoff)))
        assert.deepStrictEqual(lines, ["0 try", "1000 try", "3000 try", "7000 try", "15000 try"])
        yield* TestClock.setTime(0)
        lines.length = 0
        yield* VirtualTime.run(Effect.repeat(log("beat"), Schedule.fixed("1 minute").pipe(Schedule.upTo("3 minutes"))))
        assert.deepStrictEqual(lines, ["0 beat", "60000 beat", "120000 beat", "180000 beat"])
      }))

    it.effect("streams", () =>
      Effect.gen(function*() {
        const at = (time: number) => Effect.as(Effect.delay(Effect.void, time), time)
        const bursts = Stream.mergeAll(
          [100, 150, 190, 1_000, 1_040, 3_000].map((time) => Stream.fromEffect(at(time))),
          { concurrency: "unbounded" }
        )
        const debounced = bursts.pipe(
          Stream.debounce("200 millis"),
          Stream.mapEffect((time) => Effect.map(now, (at) => [time, at])),
          Stream.runCollect,
          VirtualTime.run
        )
        deepStrictEqual(Chunk.toReadonlyArray(yield* debounced), [[190, 390], [1_040, 1_240], [3_000, 3_200]])
        const ticks = Stream.tick("1 hour").pipe(Stream.take(4), Stream.runCount, VirtualTime.run)
        assert.strictEqual(yield* ticks, 4)
        assert.strictEqual(yield* TestClock.currentTimeMillis, 3_200 + 3 * 3_600_000)
      }))

    it.effect("queues and latches between fibers", () =>
      Effect.gen(function*() {
        const { lines, log } = makeLog()
        yield* VirtualTime.run(Effect.gen(function*() {
          const queue = yield* Queue.bounded<number>(1)
          const done = yield* Deferred.make<void>()
          const consumer = Queue.take(queue).pipe(
            Effect.tap((n) => log(`took ${n}`)),
            Effect.delay("1 minute"),
            Effect.repeat({ until: (n) => n === 3 }),
            Effect.zipRight(Deferred.succeed(done, undefined))
          )
          const producer = Effect.forEach(
            [1, 2, 3],
            (n) => Effect.zipRight(Queue.offer(queue, n), log(`offered ${n}`))
          )
          yield* Effect.fork(consumer)
          yield* Effect.fork(producer)
          yield* Deferred.await(done)
        }))
        assert.deepStrictEqual(lines, [
          "0 offered 1",
          "60000 took 1",
          "60000 offered 2",
          "120000 took 2",
          "120000 offered 3",
          "180000 took 3"
        ])
      }))
  })

  // ---------------------------------------------------------------------------
  // compared with `TestClock`
  // ---------------------------------------------------------------------------

  /** A small program. Each pause is a different power of two, so no two events coincide by chance. */
  type Program =
    | { readonly _tag: "Sleep"; readonly pause: number }
    | { readonly _tag: "Sequence" | "Race" | "Fork" | "Both"; readonly first: Program; readonly second: Program }
    | { readonly _tag: "Timeout"; readonly pause: number; readonly program: Program }
    | { readonly _tag: "Ensuring"; readonly program: Program; readonly finalizer: Program }
    | { readonly _tag: "Fail"; readonly program: Program }

  const { program } = FastCheck.letrec<{ readonly program: Program }>((tie) => ({
    program: FastCheck.oneof(
      { depthSize: "small", withCrossShrink: true },
      FastCheck.constant<Program>({ _tag: "Sleep", pause: 0 }),
      FastCheck.record({
        _tag: FastCheck.constantFrom<Array<"Sequence" | "Race" | "Fork" | "Both">>("Sequence", "Race", "Fork", "Both"),
        first: tie("program"),
        second: tie("program")
      }),
      FastCheck.record({
        _tag: FastCheck.constant("Timeout" as const),
        pause: FastCheck.constant(0),
        program: tie("program")
      }),
      FastCheck.record({
        _tag: FastCheck.constant("Ensuring" as const),
        program: tie("program"),
        finalizer: tie("program")
      }),
      FastCheck.record({ _tag: FastCheck.constant("Fail" as const), program: tie("program") })
    )
  }))

  /** Assigns each pause a different power of two, in this order. */
  const withPauses = (program: Program, salt: number): Program => {
    let count = 0
    const size = (program: Program): number =>
      Object.values(program).reduce<number>(
        (sum, value) => sum + (typeof value === "object" ? size(value as Program) : typeof value === "number" ? 1 : 0),
        0
      )
    const total = size(program)
    const orders = Array.from({ length: total }, (_, i) => i)
    // a Fisher-Yates shuffle with a random source that is good enough here
    for (let i = total - 1, x = salt; i > 0; i--) {
      x = (x * 1_103_515_245 + 12_345) % 2_147_483_648
      const j = x % (i + 1)
      const other = orders[i]!
      orders[i] = orders[j]!
      orders[j] = other
    }
    const give = (program: Program): Program => {
      switch (program._tag) {
        case "Sleep":
          return { ...program, pause: 2 ** orders[count++]! }
        case "Timeout":
          return { ...program, pause: 2 ** orders[count++]!, program: give(program.program) }
        case "Ensuring":
          return { ...program, program: give(program.program), finalizer: give(program.finalizer) }
        case "Fail":
          return { ...program, program: give(program.program) }
        default:
          return { ...program, first: give(program.first), second: give(program.second) }
      }
    }
    return give(program)
  }

  const compile = (
    program: Program,
    log: (what: string) => Effect.Effect<void>,
    path = ""
  ): Effect.Effect<void, string> => {
    const inner = (program: Program, name: string) => compile(program, log, path + name)
    switch (program._tag) {
      case "Sleep":
        return Effect.onExit(Effect.sleep(program.pause), (exit) => log(`${path} ${exit._tag}`))
      case "Sequence":
        return Effect.zipRight(inner(program.first, "a"), inner(program.second, "b"))
      case "Race":
        return Effect.race(inner(program.first, "l"), inner(program.second, "r"))
      case "Both":
        return Effect.zipRight(inner(program.first, "x"), inner(program.second, "y"), { concurrent: true })
      case "Fork":
        return Effect.zipRight(Effect.fork(inner(program.first, "f")), inner(program.second, "g"))
      case "Timeout":
        return Effect.timeoutFail(inner(program.program, "t"), { duration: program.pause, onTimeout: () => "timeout" })
      case "Ensuring":
        return Effect.ensuring(inner(program.program, "e"), Effect.ignore(inner(program.finalizer, "z")))
      case "Fail":
        return Effect.zipRight(inner(program.program, "n"), Effect.fail("no"))
    }
  }

  const failureOf = (exit: Exit.Exit<void, string>) => Option.flatMap(Exit.causeOption(exit), Cause.failureOption)

  it.effect.prop(
    "events happen at the same time and in the same order as under TestClock",
    [FastCheck.tuple(program, FastCheck.nat()).map(([program, salt]) => withPauses(program, salt))],
    ([program]) =>
      Effect.gen(function*() {
        const slow = makeLog()
        const under = yield* Effect.fork(Effect.exit(Effect.tap(compile(program, slow.log), slow.log("end"))))
        yield* TestClock.adjust("30 days")
        const expected = yield* Fiber.join(under)
        yield* TestClock.setTime(0)
        const fast = makeLog()
        const exit = yield* Effect.exit(VirtualTime.run(Effect.tap(compile(program, fast.log), fast.log("end"))))
        assert.deepStrictEqual(fast.lines, slow.lines)
        deepStrictEqual(failureOf(exit), failureOf(expected))
      }),
    { fastCheck: { numRuns: 60 } }
  )
})
