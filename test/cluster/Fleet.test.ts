import { assert, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { inject } from "vitest"
import * as Fleet from "../fixtures/fleet.js"
import { model } from "../fixtures/job.js"
import { hasPostgres, make } from "../fixtures/postgres.js"

/** Waits until a condition holds. Checks it seldom: each check reads all polls. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => isSo() ? Effect.void : Effect.zipRight(Effect.sleep("250 millis"), until(isSo)))

/** A fleet whose runners were started at once on an empty database, and a watch of all jobs from this process. */
const start = (
  { every, jobs: count, names }: {
    readonly jobs: number
    readonly names: ReadonlyArray<string>
    readonly every?: Duration.DurationInput
  }
) =>
  Effect.gen(function*() {
    const { url } = yield* make
    const service = yield* Fleet.makeService
    const { polls } = service
    const startRunner = (name: string) => Fleet.startRunner(name, service, url, every)
    const runners = yield* Effect.forEach(names, startRunner, { concurrency: "unbounded" })
    const jobs = Fleet.jobs(count)
    const watch = yield* Effect.forkScoped(Effect.provide(Fleet.watchAll(jobs, every), Fleet.client(url)))
    /** How many jobs each runner polled last. */
    const owned = () => {
      const counts = new Map<string, number>()
      for (const by of Fleet.ownersOf(polls).values()) counts.set(by, (counts.get(by) ?? 0) + 1)
      return counts
    }
    /** Waits until these runners have all jobs, each a fair part of them. */
    const balance = (...names: ReadonlyArray<string>) =>
      until(() => {
        const counts = owned()
        const ofNames = names.map((name) => counts.get(name) ?? 0)
        return ofNames.every((n) => n > 0.3 * count / names.length) && ofNames.reduce((a, b) => a + b) === count
      })
    /** Waits until other runners poll the jobs of this one, beginning with an action. */
    const takeover = (name: string, action: (runner: Fleet.Runner) => void) =>
      Effect.suspend(() => {
        const since = performance.now()
        const lost = owned().get(name)
        action(runners.find((runner) => runner.name === name)!)
        return until(() => Fleet.takeovers(polls, name, since).length === lost)
      })
    /** Waits until each job has been polled again. */
    const allPolled = Effect.suspend(() => {
      const since = performance.now()
      return until(() => new Set(polls.filter(({ at }) => at > since).map(({ job }) => job)).size === count)
    })
    /** How often a job went back to a runner that had lost it in an event. Prints how long a job was not polled. */
    const alternations = <R>(name: string, event: Effect.Effect<unknown, never, R>) =>
      Effect.gen(function*() {
        const since = performance.now()
        yield* event
        const took = Math.round(performance.now() - since)
        const gap = Fleet.longestGap(polls, since)
        console.log(
          `${name}, ${took} ms: a job was not polled for ${gap} ms at most, with ${count} jobs, every ${every}`
        )
        return Fleet.alternations(polls, since)
      })
    /** All jobs end: every step of every job has come once. */
    const finish = Effect.gen(function*() {
      service.finish()
      assert.deepStrictEqual(yield* Fiber.join(watch), jobs.map(() => "Queued Claimed Completed"))
    })
    yield* balance(...names)
    return { allPolled, alternations, balance, finish, runners, service, startRunner, takeover, url }
  })

// how long a job is not polled is printed: nothing else may run meanwhile
const isAlone = inject("fleet")
const by = isAlone ? "" : ", run by `npm run test:fleet`"

describe.skipIf(!hasPostgres || isAlone)(`a fleet${isAlone ? ", run by `npm test`" : ""}`, () => {
  it.scopedLive("the jobs of a runner that is killed go on at another one; a 429 to one runner pauses both", () =>
    Effect.gen(function*() {
      const { finish, runners, service, takeover } = yield* start({ jobs: 60, names: ["victim", "other"] })
      const { polls } = service
      const before = polls.length
      service.limit(6)
      yield* until(() => polls.length > before)
      const { at } = polls[before]!
      const pauses = Effect.forEach(runners, ({ url }) =>
        Effect.promise(async () => {
          const metrics = await (await fetch(url.replace("jobs", "metrics"))).text()
          return /^effect_queue_status_watcher_pauses_total\S* (\d+)$/m.exec(metrics)?.[1]
        }))
      yield* Effect.repeat(pauses, { until: (counts) => counts.every((count) => count === "1") })
      const informedAt = performance.now()
      yield* until(() => polls.at(-1)!.at > at + 6_000)
      // requests were on their way
      assert.deepStrictEqual(polls.filter((poll) => poll.at > informedAt + 500 && poll.at < at + 6_000), [])
      assert.deepStrictEqual(yield* pauses, ["1", "1"])
      const since = performance.now()
      yield* takeover("victim", (runner) => runner.kill("SIGKILL"))
      yield* finish
      assert.strictEqual(Fleet.alternations(polls, since), 0)
    }))
})

const settings = { jobs: 600, every: "5 seconds" } as const

describe.skipIf(!hasPostgres || !isAlone).concurrent(`a fleet of three runners and 600 jobs${by}`, () => {
  it.scopedLive("a runner joins, one is stopped, and one is killed", () =>
    Effect.gen(function*() {
      const { alternations, balance, finish, runners, startRunner, takeover } = yield* start({
        ...settings,
        names: ["first", "second"]
      })
      const joins = Effect.zipRight(startRunner("third"), balance("first", "second", "third"))
      assert.strictEqual(yield* alternations("a runner joins", joins), 0)
      const stops = takeover("first", (runner) => runner.kill("SIGTERM"))
      assert.strictEqual(yield* alternations("SIGTERM", stops), 0)
      assert.strictEqual((yield* runners[0]!.exited).code, 143)
      yield* balance("second", "third")
      const isKilled = takeover("second", (runner) => runner.kill("SIGKILL"))
      assert.strictEqual(yield* alternations("SIGKILL", isKilled), 0)
      yield* finish
    }))

  it.scopedLive("a runner hangs and resumes, and the database is away", () =>
    Effect.gen(function*() {
      const names = ["victim", "second", "third"]
      const { allPolled, alternations, balance, finish, runners, service, takeover, url } = yield* start({
        ...settings,
        names
      })
      yield* alternations("a runner hangs", takeover("victim", (runner) => runner.kill("SIGSTOP")))
      const wokenAt = performance.now()
      runners[0]!.kill("SIGCONT")
      yield* balance(...names)
      yield* allPolled
      // it learns from the database that its leases have ended
      const others = new Map(service.polls.filter(({ by }) => by !== "victim").map(({ at, job }) => [job, at]))
      const stale = service.polls.filter(({ at, by, job }) =>
        by === "victim" && at > wokenAt && at < (others.get(job) ?? 0)
      )
      const took = Math.round((stale.at(-1)?.at ?? wokenAt) - wokenAt)
      console.log(`a runner wakes: ${stale.length} polls of jobs that others have, within ${took} ms`)
      assert.strictEqual(new Set(stale.map(({ job }) => job)).size, stale.length, "a job was polled twice")
      for (const duration of ["2 seconds", "12 seconds"] as const) {
        yield* alternations(
          `the database is away for ${duration}`,
          Effect.zipRight(Fleet.databaseAway(url, duration), allPolled)
        )
      }
      yield* finish
    }))
})

describe.skipIf(!hasPostgres || !isAlone)(`a fleet of four runners${by}`, () => {
  it.scopedLive("1,000 subscribers of a job, a quarter at each, share one poller", () =>
    Effect.gen(function*() {
      const { url } = yield* make
      const service = yield* Fleet.makeService
      const names = ["first", "second", "third", "fourth"]
      const runners = yield* Effect.forEach(names, (name) => Fleet.startRunner(name, service, url), {
        concurrency: "unbounded"
      })
      const shares = Effect.forEach(runners, ({ url }) =>
        Effect.promise(async (): Promise<number> =>
          (await (await fetch(url.replace("jobs", "health"))).json()).share
        ))
      // each has its part of the jobs, and none moves any more
      yield* Effect.repeat(Effect.delay(shares, "250 millis"), {
        until: (shares) => shares.every((share) => share > 0.1) && shares.reduce((a, b) => a + b) === 1
      })
      let following = 0
      const follow = ({ url }: Fleet.Runner) =>
        Effect.promise(async () => {
          const response = await fetch(`${url}/events?${new URLSearchParams({ job: `${model}/job-0` })}`)
          following++
          return (await response.text()).split("\n").filter((line) => line.startsWith("event: "))
        })
      const since = performance.now()
      const followers = yield* Effect.fork(
        Effect.all(runners.flatMap((runner) => Array.from({ length: 250 }, () => follow(runner))), {
          concurrency: "unbounded"
        })
      )
      yield* until(() => following === 1_000)
      const before = service.polls.length
      yield* until(() => service.polls.length > before + 5)
      const { polls } = service
      assert.strictEqual(new Set(polls.map(({ by }) => by)).size, 1)
      // a request whose response is late may be sent again
      assert.isAtMost(polls.length, 1.5 * (performance.now() - since) / 500 + 2)
      service.finish()
      const steps = ["event: Queued", "event: Claimed", "event: Completed", "event: end"]
      assert.deepStrictEqual(yield* Fiber.join(followers), Array.from({ length: 1_000 }, () => steps))
    }))
})
