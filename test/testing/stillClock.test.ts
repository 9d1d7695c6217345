import { assert, describe, it } from "@effect/vitest"
import { JobQueue, JobStream } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as TestClock from "effect/TestClock"

const workers = { script: Worker.always(Worker.finish("1 minute", { sum: 3 })) }

const program = JobQueue.submit({ model: "my-org/adder", payload: {} }).pipe(
  Effect.flatMap((job) => JobStream.result(job)),
  Effect.provide(TestJobQueue.layer({ workers }))
)

/** Runs an effect for up to `millis` real milliseconds, and returns its printed warnings. */
const printedBy = (effect: Effect.Effect<unknown, unknown>, millis: number) =>
  Effect.gen(function*() {
    const printed: Array<unknown> = []
    const warn = (text: unknown) => Effect.sync(() => void printed.push(text))
    yield* Effect.raceFirst(effect, Effect.withClock(Effect.sleep(millis), Clock.make())).pipe(
      Effect.withConsole({ ...(yield* Effect.console), warn })
    )
    return printed
  })

const late = Effect.withClock(Effect.sleep(2_500), Clock.make())

// concurrent, because the tests wait for real seconds
describe.concurrent("the hint", () => {
  it.effect("a test whose clock does not move prints what to do, once", () =>
    Effect.gen(function*() {
      const [hint, ...rest] = yield* printedBy(program, 4_500)
      assert.include(hint, "`VirtualTime.run`")
      assert.deepStrictEqual(rest, [])
    }))

  it.effect("a program in an uninterruptible region ends", () =>
    VirtualTime.run(program).pipe(
      Effect.provide(TestJobQueue.layer({ workers })),
      Effect.uninterruptible
    ))

  it.effect("a test that runs in virtual time prints nothing", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* printedBy(Effect.zip(VirtualTime.run(program), late), 30_000), [])
    }))

  it.effect("a queue that is created in virtual time prints nothing, and leaves no fiber that dies", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const real = Effect.repeatN(Effect.withClock(Effect.sleep(900), Clock.make()), 2)
      const inside = VirtualTime.run(Effect.provide(real, TestJobQueue.layer())).pipe(
        Logger.withMinimumLogLevel(LogLevel.All),
        Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => logged.push(message))))
      )
      assert.deepStrictEqual(yield* printedBy(inside, 30_000), [])
      assert.deepStrictEqual(logged, [])
    }))

  it.effect("a test whose clock moves prints nothing", () =>
    Effect.gen(function*() {
      const moved = Effect.gen(function*() {
        const fiber = yield* Effect.fork(program)
        yield* TestClock.adjust("2 minutes")
        return yield* Fiber.join(fiber)
      })
      assert.deepStrictEqual(yield* printedBy(Effect.zip(moved, late), 30_000), [])
    }))
})
