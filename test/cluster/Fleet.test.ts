import { assert, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Fleet from "../fixtures/fleet.js"
import { hasPostgres, make } from "../fixtures/postgres.js"
import { runs } from "../fixtures/runs.js"

/** Waits until something is so. Asks seldom: each answer goes through all polls. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => isSo() ? Effect.void : Effect.zipRight(Effect.sleep("250 millis"), until(isSo)))

/** Watches jobs from this process while something happens to the runners: every step of every job comes once. */
const scenario = (
  { every, jobs: count, names }: {
    readonly jobs: number
    readonly names: ReadonlyArray<string>
    readonly every?: Duration.DurationInput
  },
  happen: (fleet: {
    readonly database: Effect.Effect.Success<ReturnType<typeof Fleet.makeProxy>>
    readonly service: Fleet.Service
    readonly runner: (name: string) => Fleet.Runner
    readonly lost: number
  }) => Effect.Effect<unknown, never, Scope.Scope>
) =>
  Effect.gen(function*() {
    const database = yield* Fleet.makeProxy((yield* make).url)
    const service = yield* Fleet.makeService
    // all at once, on an empty database
    const runners = yield* Effect.forEach(names, (name) => Fleet.startRunner(name, service, database.url, every), {
      concurrency: "unbounded"
    })
    const jobs = Fleet.jobs(count)
    const watch = yield* Effect.forkScoped(Effect.provide(Fleet.watchAll(jobs, every), Fleet.client(database.url)))
    const ownedBy = (name: string) =>
      Array.from(Fleet.ownersOf(service.polls).values()).filter((by) => by === name).length
    yield* until(() => {
      const owned = names.map(ownedBy)
      return owned.every((n) => n > 0.3 * count / names.length) && owned.reduce((a, b) => a + b) === count
    })
    const since = performance.now()
    yield* happen({
      database,
      service,
      runner: (name) => runners.find((runner) => runner.name === name)!,
      lost: ownedBy("victim")
    })
    const gap = Fleet.longestGap(service.polls, since)
    service.finish()
    assert.deepStrictEqual(yield* Fiber.join(watch), jobs.map(() => "Queued Claimed Completed"))
    return { alternations: Fleet.alternations(service.polls, since), gap }
  })

const stop = (signal: NodeJS.Signals): Parameters<typeof scenario>[1] => ({ lost, runner, service }) =>
  Effect.gen(function*() {
    const since = performance.now()
    runner("victim").kill(signal)
    yield* until(() => Fleet.takeovers(service.polls, "victim", since).length === lost)
  })

describe.skipIf(!hasPostgres)("a fleet", () => {
  it.scopedLive("the jobs of a runner that is killed go on at another one; a 429 to one runner pauses both", () =>
    Effect.gen(function*() {
      const { alternations } = yield* scenario(
        { jobs: 60, names: ["victim", "other"] },
        (fleet) =>
          Effect.gen(function*() {
            const { polls } = fleet.service
            const before = polls.length
            fleet.service.limit(4)
            yield* until(() => polls.length > before)
            const { at } = polls[before]!
            yield* until(() => polls.at(-1)!.at > at + 4_000)
            // the others learn of it within the first second
            assert.deepStrictEqual(polls.filter((poll) => poll.at > at + 1_000 && poll.at < at + 4_000), [])
            yield* stop("SIGKILL")(fleet)
          })
      )
      assert.strictEqual(alternations, 0)
    }))
})

const settings = { jobs: 600, names: ["victim", "second", "third"], every: "5 seconds" } as const

const report = (event: string, gap: number) =>
  console.log(`${event}: the longest time without a poll of a job is ${gap} ms, with polls every ${settings.every}`)

describe.skipIf(!hasPostgres || !runs(false, true))("a fleet of three runners and 600 jobs", () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it.scopedLive(`${signal} to a runner`, () =>
      Effect.gen(function*() {
        const { alternations, gap } = yield* scenario(settings, stop(signal))
        assert.strictEqual(alternations, 0)
        report(signal, gap)
      }))
  }

  it.scopedLive("a runner joins", () =>
    Effect.gen(function*() {
      const { alternations, gap } = yield* scenario(
        { ...settings, names: ["victim", "second"] },
        ({ database, service }) =>
          Effect.zipRight(
            Fleet.startRunner("third", service, database.url, settings.every),
            until(() => Array.from(Fleet.ownersOf(service.polls).values()).filter((by) => by === "third").length > 150)
          )
      )
      assert.strictEqual(alternations, 0)
      report("a runner joins", gap)
    }))

  it.scopedLive("a runner hangs, and goes on", () =>
    Effect.gen(function*() {
      let wokenAt = 0
      let polls: ReadonlyArray<Fleet.Poll> = []
      const { gap } = yield* scenario(settings, ({ lost, runner, service }) =>
        Effect.gen(function*() {
          ;({ polls } = service)
          const since = performance.now()
          runner("victim").kill("SIGSTOP")
          yield* until(() => Fleet.takeovers(service.polls, "victim", since).length === lost)
          wokenAt = performance.now()
          runner("victim").kill("SIGCONT")
          yield* Effect.sleep("5 seconds")
        }))
      // two runners poll a job for at most half a second after that
      const stale = polls.filter(({ at, by }, i) =>
        by === "victim" && at > wokenAt + 500 &&
        polls.slice(i).some((poll) => poll.job === polls[i]!.job && poll.by !== "victim")
      )
      report("a runner hangs", gap)
      assert.deepStrictEqual(stale, [])
    }))

  for (const duration of ["2 seconds", "12 seconds"] as const) {
    it.scopedLive(`the database is away for ${duration}`, () =>
      Effect.gen(function*() {
        const { gap } = yield* scenario(settings, ({ database }) =>
          Effect.zipRight(database.away(duration), Effect.sleep("5 seconds")))
        report(`the database is away for ${duration}`, gap)
      }))
  }
})
