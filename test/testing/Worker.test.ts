import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome, deepStrictEqual } from "@effect/vitest/utils"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, JobStream } from "../../src/index.js"
import { TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { seeded } from "../../src/testing/internal/seededRandom.js"

const model = "my-org/video-generator"

const submit = (name: string = model, priority = 0, payload: Job.JsonObject = {}) =>
  JobQueue.submit({ model: name, payload, priority })

/** The history of a job, one line per step: `Claimed 1 at 2s`. */
const lifeOf = (job: Job.JobRef) =>
  Effect.gen(function*() {
    const { startedAt, transitions } = yield* TestJobQueue.TestJobQueue
    return (yield* transitions(job)).map(({ _tag, attempt, observedAt }) => {
      const at = DateTime.toEpochMillis(observedAt) - startedAt
      return `${_tag} ${attempt} at ${Duration.format(Duration.millis(at))}`
    })
  })

/** The histories of jobs that were submitted together, one day later. */
const lives = (workers: TestJobQueue.Options["workers"], count = 1, seed = "seed") =>
  Effect.gen(function*() {
    const jobs = yield* Effect.replicateEffect(submit(), count)
    yield* TestClock.adjust("1 day")
    return yield* Effect.forEach(jobs, lifeOf)
  }).pipe(Effect.provide(TestJobQueue.layer({ workers, seed })))

const life = (workers: TestJobQueue.Options["workers"], seed?: string) =>
  Effect.map(lives(workers, 1, seed), ([first]) => first!)

describe("Worker", () => {
  describe("steps", () => {
    it.effect("each runs after its pause since the previous step; the first counts from the claim", () =>
      Effect.gen(function*() {
        const history = yield* life({
          pickup: "1 second",
          script: Worker.always(
            Worker.heartbeat("2 seconds", { note: 1 }),
            Worker.progress("3 seconds", 0.5),
            Worker.finish("4 seconds", { answer: 42 })
          )
        })
        assert.deepStrictEqual(history, [
          "Queued 0 at 0",
          "Claimed 1 at 1s",
          "Progressed 1 at 3s",
          "Progressed 1 at 6s",
          "Completed 1 at 10s"
        ])
      }))

    it.effect("reports merge into info; outputs and failure reasons arrive with the last step", () =>
      Effect.gen(function*() {
        const [done, failed] = yield* Effect.all([submit("done"), submit("failed")])
        yield* TestClock.adjust("1 minute")
        const one = yield* JobQueue.status(done)
        assert.strictEqual(one._tag, "Done")
        deepStrictEqual(one.info, { note: 2, more: true, progress: 1 })
        deepStrictEqual(one.outputs, { answer: 42 })
        const other = yield* JobQueue.status(failed)
        assert.strictEqual(other._tag, "Failed")
        deepStrictEqual(other.info, { error: "out of memory" })
        assertSome(Job.failureReason(other), "out of memory")
        assert.deepStrictEqual((yield* lifeOf(failed)).at(-1), "FailedByModel 1 at 1s")
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: {
          script: Worker.byModel({
            done: [
              Worker.heartbeat(0, { note: 1, more: true }),
              Worker.heartbeat(0, { note: 2 }),
              Worker.progress(0, 1),
              Worker.finish(0, { answer: 42 })
            ],
            failed: [Worker.fail("1 second", "out of memory")]
          })
        }
      }))))

    it("progress in steps is even, and ends with 1", () => {
      const steps = Worker.progressInSteps(4, "1 second")
      deepStrictEqual(
        steps,
        [0.25, 0.5, 0.75, 1].map((progress) => ({
          after: "1 second" as const,
          late: false,
          report: { status: "running" as const, info: { progress } }
        }))
      )
      deepStrictEqual(Worker.progressInSteps(0, "1 second"), [])
      for (const count of [-1, 1.5, NaN, Infinity]) {
        assert.throws(() => Worker.progressInSteps(count, 0), RangeError, `Worker.progressInSteps: ${count} is not`)
      }
      for (const fraction of [-0.1, 1.1, NaN]) {
        assert.throws(() => Worker.progress(0, fraction), RangeError, `Worker.progress: ${fraction} is not`)
      }
    })

    it.effect("a heartbeat extends the claim by the full claim timeout", () =>
      Effect.gen(function*() {
        const history = yield* life({
          claimTimeout: "10 seconds",
          script: Worker.attempts(
            [Worker.heartbeat("9 seconds"), Worker.heartbeat("9 seconds"), Worker.stopResponding],
            [Worker.finish("1 second")]
          )
        })
        assert.deepStrictEqual(history.slice(2), ["Requeued 1 at 28s", "Claimed 2 at 28s", "Completed 2 at 29s"])
      }))

    it.effect("a worker keeps its claim while it works, regardless of the duration", () =>
      Effect.gen(function*() {
        const history = yield* life({
          claimTimeout: "10 seconds",
          script: Worker.always(Worker.progress("1 hour", 0.5), Worker.finish("2 hours"))
        })
        assert.deepStrictEqual(history, ["Queued 0 at 0", "Claimed 1 at 0", "Progressed 1 at 1h", "Completed 1 at 3h"])
      }))

    it.effect("a report at the instant the claim expires is too late", () =>
      Effect.gen(function*() {
        const history = yield* life({
          claimTimeout: "10 seconds",
          script: Worker.attempts([Worker.late(Worker.finish(0))], [Worker.finish("1 second")])
        })
        assert.deepStrictEqual(history.slice(2), ["Requeued 1 at 10s", "Claimed 2 at 10s", "Completed 2 at 11s"])
      }))

    it.effect.each<readonly [string, ReadonlyArray<Worker.Step>]>([
      ["that dies", [Worker.heartbeat("3 seconds"), Worker.stopResponding, Worker.finish("1 second")]],
      ["that runs out of steps", [Worker.heartbeat("3 seconds")]]
    ])("a worker %s loses its claim, at most four times", ([, steps]) =>
      Effect.gen(function*() {
        const history = yield* life({ claimTimeout: "10 seconds", script: Worker.always(...steps) })
        assert.deepStrictEqual(history, [
          "Queued 0 at 0",
          "Claimed 1 at 0",
          "Requeued 1 at 13s",
          "Claimed 2 at 13s",
          "Requeued 2 at 26s",
          "Claimed 3 at 26s",
          "Requeued 3 at 39s",
          "Claimed 4 at 39s",
          "RetriesExhausted 4 at 52s"
        ])
      }))

    it.effect("a claim timeout defaults to 90 seconds", () =>
      Effect.gen(function*() {
        const history = yield* life({ script: Worker.attempts([Worker.stopResponding], [Worker.finish(0)]) })
        assert.strictEqual(history[2], "Requeued 1 at 1m 30s")
      }))
  })

  describe("late steps", () => {
    const late = [
      ["finishes", Worker.late(Worker.finish("5 seconds", { by: "the first" }))],
      ["fails", Worker.late(Worker.fail("5 seconds", "I have lost it"))],
      ["sends a heartbeat", Worker.late(Worker.heartbeat("5 seconds", { by: "the first" }))]
    ] as const

    describe.each(late)("a worker that %s too late", (_, step) => {
      const first = [Worker.progress("1 second", 0.5), step]
      const second = [Worker.progress("1 second", 0.8), Worker.finish("10 seconds", { by: "the second" })]
      const pool = { claimTimeout: "20 seconds", script: Worker.attempts(first, second) } as const

      const isAsIfNothingHadBeenSaid = (job: Job.JobRef) =>
        Effect.gen(function*() {
          const status = yield* JobQueue.status(job)
          assert.strictEqual(status._tag, "Done")
          assertSome(status.retries, 1)
          deepStrictEqual(status.info, { progress: 0.8 })
          deepStrictEqual(status.outputs, { by: "the second" })
        })

      it.effect("before another worker claims the job: the job stays in the queue", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          // the claim expired at 21 seconds, and the only worker reports at 26
          yield* TestClock.adjust("25999 millis")
          assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(yield* lifeOf(job), [
            "Queued 0 at 0",
            "Claimed 1 at 0",
            "Progressed 1 at 1s",
            "Requeued 1 at 21s",
            // the worker becomes idle only then, and claims the job again
            "Claimed 2 at 26s",
            "Progressed 2 at 27s",
            "Completed 2 at 37s"
          ])
          yield* isAsIfNothingHadBeenSaid(job)
        }).pipe(Effect.provide(TestJobQueue.layer({ workers: pool }))))

      it.effect("while another worker holds the claim: that worker continues", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(yield* lifeOf(job), [
            "Queued 0 at 0",
            "Claimed 1 at 0",
            "Progressed 1 at 1s",
            "Requeued 1 at 21s",
            "Claimed 2 at 21s",
            "Progressed 2 at 22s",
            "Completed 2 at 32s"
          ])
          yield* isAsIfNothingHadBeenSaid(job)
        }).pipe(Effect.provide(TestJobQueue.layer({ workers: { ...pool, workers: 2 } }))))

      it.effect("after another worker has ended the job: the job does not change", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* TestClock.adjust("1 minute")
          assert.strictEqual((yield* lifeOf(job)).at(-1), "Completed 2 at 23s")
          deepStrictEqual((yield* JobQueue.status(job)).outputs, { by: "the second" })
          deepStrictEqual((yield* JobQueue.status(job)).info, { progress: 0.5 })
        }).pipe(Effect.provide(TestJobQueue.layer({
          workers: {
            ...pool,
            workers: 2,
            script: Worker.attempts(first, [Worker.finish("2 seconds", { by: "the second" })])
          }
        }))))

      it.effect("after the job was canceled: the job stays canceled", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* TestClock.adjust("22 seconds")
          yield* JobQueue.cancel(job)
          yield* TestClock.adjust("1 minute")
          assert.strictEqual((yield* lifeOf(job)).at(-1), "Canceled 1 at 22s")
        }).pipe(Effect.provide(TestJobQueue.layer({ workers: pool }))))
    })

    it.effect("several late steps: each pause counts from the previous step", () =>
      Effect.gen(function*() {
        const history = yield* life({
          claimTimeout: "10 seconds",
          script: Worker.attempts(
            [Worker.late(Worker.heartbeat("1 second")), Worker.late(Worker.finish("2 seconds"))],
            [Worker.finish("1 second")]
          )
        })
        // the only worker is busy until it has sent all its reports
        assert.deepStrictEqual(history.slice(2), ["Requeued 1 at 10s", "Claimed 2 at 13s", "Completed 2 at 14s"])
      }))

    it("stopResponding has no late variant", () => {
      assert.strictEqual(Worker.late(Worker.stopResponding), Worker.stopResponding)
    })
  })

  describe("scripts", () => {
    it.effect("receive the job, its payload, its current info, and the number of the attempt", () => {
      const tasks: Array<Worker.Task> = []
      return Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" }, info: { user: "u" } })
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Done")
        deepStrictEqual<ReadonlyArray<Worker.Task>>(tasks, [
          { job, nth: 1, attempt: 1, payload: { prompt: "a cat" }, info: { user: "u" } },
          { job, nth: 1, attempt: 2, payload: { prompt: "a cat" }, info: { user: "u", seen: 1 } }
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: {
          script: (task) => {
            tasks.push(task)
            return task.attempt === 1 ? [Worker.heartbeat(0, { seen: task.attempt })] : [Worker.finish(0)]
          }
        }
      })))
    })

    const task = (name: string, attempt = 1): Worker.Task => ({
      job: Job.ref(name, "1"),
      nth: 1,
      attempt,
      payload: {},
      info: {}
    })

    const random = () => 0.5

    const one = Worker.finish(1)
    const two = Worker.finish(2)
    const three = Worker.finish(3)

    it("attempts: separate steps for each attempt; the last ones repeat for later attempts", () => {
      const script = Worker.attempts([one], () => [two, one], [three])
      const at = (attempt: number) => script(task(model, attempt), random)
      deepStrictEqual([1, 2, 3, 4].map(at), [[one], [two, one], [three], [three]])
      assert.throws(() => Worker.attempts(), /^Worker\.attempts: there is no attempt; add one/)
    })

    it("byModel: one script per model; other models use the fallback, or throw an error that names them", () => {
      const names = ["my-org/video-generator", "__proto__", "constructor", "toString", "größe/模型 🦊", " "]
      const scripts = Object.fromEntries(names.map((name, i) => [name, [Worker.finish(i)]]))
      const known = Worker.byModel(scripts)
      const withRest = Worker.byModel(scripts, () => [one, two])
      names.forEach((name, i) => {
        deepStrictEqual(known(task(name), random), [Worker.finish(i)])
        deepStrictEqual(withRest(task(name), random), [Worker.finish(i)])
      })
      for (const name of ["valueOf", "hasOwnProperty", "My-Org/Video-Generator", ""]) {
        assert.throws(() => known(task(name), random), RangeError, `no script for the model "${name}"`)
        deepStrictEqual(withRest(task(name), random), [one, two])
      }
      for (const name of ["__proto__", "constructor"]) {
        assert.throws(() => Worker.byModel({})(task(name), random), RangeError, `no script for the model "${name}"`)
      }
    })

    it.effect.each(["0 seconds", "3 seconds"] as const)(
      "byModel: a program with a job of another model dies with the entry to add; pickup after %s",
      (pickup) =>
        Effect.gen(function*() {
          const result = Effect.flatMap(submit("my-org/adder"), (job) => JobStream.result(job))
          const cause = yield* Effect.sandbox(result).pipe(Effect.flip)
          assertSome(
            Option.map(Cause.dieOption(cause), String),
            "RangeError: Worker.byModel: there is no script for the model \"my-org/adder\"; " +
              "add \"my-org/adder\": [Worker.finish(0)] to the scripts, " +
              "or pass a script for other models as the second argument"
          )
        }).pipe(
          VirtualTime.run,
          Effect.provide(TestJobQueue.layer({
            workers: { pickup, script: Worker.byModel({ "my-org/addr": [Worker.finish("1 second")] }) }
          }))
        )
    )

    it.effect("byModel: models with unusual names, each with its own pool", () =>
      Effect.gen(function*() {
        const names = ["__proto__", "constructor", "0 a", "a"]
        const jobs = yield* Effect.forEach(names, (name) => submit(name))
        yield* TestClock.adjust("1 minute")
        const ends = yield* Effect.forEach(jobs, (job) => Effect.map(lifeOf(job), (life) => life.at(-1)))
        assert.deepStrictEqual(ends, [
          "Completed 1 at 1s",
          "Completed 1 at 2s",
          "Completed 1 at 3s",
          "Completed 1 at 4s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: {
          script: Worker.byModel(Object.fromEntries([
            ["__proto__", [Worker.finish("1 second")]],
            ["constructor", [Worker.finish("2 seconds")]],
            ["0 a", [Worker.finish("3 seconds")]],
            ["a", [Worker.finish("4 seconds")]]
          ]))
        }
      }))))

    it("weighted: each script is chosen in proportion to its weight", () => {
      const script = Worker.weighted([6, [one]], [3, () => [two]], [1, [three]], [0, [Worker.stopResponding]])
      const drawn = Array.from({ length: 10_000 }, (_, i) => script(task(model), seeded(`${i}`))[0])
      for (const [step, share] of [[one, 0.6], [two, 0.3], [three, 0.1], [Worker.stopResponding, 0]] as const) {
        const count = drawn.filter((other) => other === step).length
        // four standard deviations
        assert.closeTo(count, 10_000 * share, 4 * Math.sqrt(10_000 * share * (1 - share)), step.report?.status)
      }
      assert.throws(() => Worker.weighted(), /^Worker\.weighted: there is no script; add one/)
      for (const weights of [[0], [0, 0], [-1, 2], [NaN], [Infinity, 1]]) {
        const choices = weights.map((weight) => [weight, [one]] as const)
        assert.throws(() => Worker.weighted(...choices), RangeError, "Worker.weighted: the weights")
      }
      deepStrictEqual(Worker.weighted([0, [one]], [5, [two]])(task(model), () => 0), [two])
    })

    it.effect("weighted: the choice is made per attempt and job, and is the same for the same seed", () =>
      Effect.gen(function*() {
        const pool: Worker.Pool = {
          workers: 400,
          claimTimeout: "1 minute",
          script: Worker.weighted([3, [Worker.finish("1 second")]], [1, [Worker.stopResponding]])
        }
        const attemptsOf = (seed: string) =>
          Effect.map(lives(pool, 400, seed), (all) => all.map((life) => life.at(-1)!.split(" ")[1]!))
        const attempts = yield* attemptsOf("a")
        // a quarter of the attempts is lost
        const count = (attempt: string) => attempts.filter((other) => other === attempt).length
        assert.closeTo(count("1"), 300, 35)
        assert.closeTo(count("2"), 75, 33)
        assert.closeTo(count("3"), 19, 18)
        assert.deepStrictEqual(yield* attemptsOf("a"), attempts)
        assert.notDeepEqual(yield* attemptsOf("b"), attempts)
      }))
  })

  describe("distributions", () => {
    const draw = (distribution: Worker.Distribution, seed = "seed") => {
      const random = seeded(seed)
      return Array.from({ length: 10_000 }, () => Duration.toMillis(distribution(random)))
    }

    const quantile = (times: ReadonlyArray<number>, part: number) =>
      times.slice().sort((a, b) => a - b)[Math.floor(times.length * part)]!

    const share = (times: ReadonlyArray<number>, isSo: (time: number) => boolean) =>
      times.filter(isSo).length / times.length

    it("uniform: all times between the bounds are equally likely", () => {
      const times = draw(Worker.uniform("1 second", "3 seconds"))
      for (const time of times) assert.isTrue(1_000 <= time && time < 3_000, String(time))
      for (let tenth = 0; tenth < 10; tenth++) {
        const from = 1_000 + tenth * 200
        assert.closeTo(share(times, (time) => from <= time && time < from + 200), 0.1, 0.015)
      }
      assert.deepStrictEqual(new Set(draw(Worker.uniform("2 seconds", "2 seconds"))), new Set([2_000]))
      assert.throws(() => Worker.uniform(0, Infinity), RangeError, "Worker.uniform: the times must be finite")
    })

    it("exponential: mostly short times, with the given mean", () => {
      const times = draw(Worker.exponential("10 seconds"))
      assert.isAtLeast(Math.min(...times), 0)
      assert.isTrue(times.every(Number.isFinite))
      assert.closeTo(times.reduce((sum, time) => sum + time, 0) / times.length, 10_000, 500)
      assert.closeTo(quantile(times, 0.5), 10_000 * Math.log(2), 400)
      assert.closeTo(share(times, (time) => time > 30_000), Math.exp(-3), 0.01)
    })

    it("lognormal: half the median is as likely as twice the median", () => {
      const times = draw(Worker.lognormal("10 seconds"))
      assert.isAbove(Math.min(...times), 0)
      assert.isTrue(times.every(Number.isFinite))
      assert.closeTo(quantile(times, 0.5), 10_000, 400)
      assert.closeTo(share(times, (time) => time < 5_000), share(times, (time) => time > 20_000), 0.02)
      assert.closeTo(share(times, (time) => 10_000 * 0.6 < time && time < 10_000 * 1.65), 0.68, 0.03)
      const wider = draw(Worker.lognormal("10 seconds", 1))
      assert.closeTo(quantile(wider, 0.5), 10_000, 700)
      assert.closeTo(quantile(wider, 0.841) / quantile(wider, 0.5), Math.E, 0.25)
      for (const time of draw(Worker.lognormal("10 seconds", 0))) assert.closeTo(time, 10_000, 1e-6)
    })

    it.each([
      ["uniform", Worker.uniform("1 second", "3 seconds")],
      ["exponential", Worker.exponential("10 seconds")],
      ["lognormal", Worker.lognormal("10 seconds")]
    ])("%s: the same seed, the same times", (_, distribution) => {
      assert.deepStrictEqual(draw(distribution, "a"), draw(distribution, "a"))
      assert.notDeepEqual(draw(distribution, "a").slice(0, 10), draw(distribution, "b").slice(0, 10))
    })

    it("the first number of each source is random: similar seeds are uncorrelated", () => {
      const firsts = Array.from({ length: 4_000 }, (_, i) => seeded(`seed/job ${i}/attempt 1`)())
      for (let tenth = 0; tenth < 10; tenth++) {
        assert.closeTo(share(firsts, (first) => Math.floor(first * 10) === tenth), 0.1, 0.02)
      }
      // adjacent seeds are uncorrelated
      const pairs = firsts.slice(1).map((first, i) => Math.abs(first - firsts[i]!))
      assert.closeTo(pairs.reduce((sum, distance) => sum + distance, 0) / pairs.length, 1 / 3, 0.02)
      // so are the attempts at one job
      const next = Array.from({ length: 4_000 }, (_, i) => Math.abs(seeded(`seed/job ${i}/attempt 2`)() - firsts[i]!))
      assert.closeTo(next.reduce((sum, distance) => sum + distance, 0) / next.length, 1 / 3, 0.02)
    })

    const times: Worker.Script = Worker.always(
      Worker.progress(Worker.uniform("1 second", "10 seconds"), 0.5),
      Worker.progress(Worker.exponential("10 seconds"), 0.9),
      Worker.finish(Worker.lognormal("10 seconds"))
    )

    it.effect("workers draw whole milliseconds, the same ones for the same seed", () =>
      Effect.gen(function*() {
        const histories = yield* lives({ workers: 20, script: times }, 20)
        assert.strictEqual(new Set(histories.map(String)).size, 20, "each job has times of its own")
        for (const line of histories.flat()) assert.notInclude(line, "us")
        assert.deepStrictEqual(yield* lives({ workers: 20, script: times }, 20), histories)
        assert.notDeepEqual(yield* lives({ workers: 20, script: times }, 20, "another seed"), histories)
      }))

    it.effect("the times of a job do not depend on other jobs", () =>
      Effect.gen(function*() {
        const workers = [{ model: "a", workers: 3, script: times }, { model: "b", script: times, workers: 3 }]
        const alone = Effect.gen(function*() {
          const jobs = yield* Effect.all([submit("a"), submit("a")])
          yield* TestClock.adjust("1 day")
          return yield* Effect.forEach(jobs, lifeOf)
        })
        const together = Effect.gen(function*() {
          const jobs = yield* Effect.all([submit("a"), submit("a")])
          yield* submit("a")
          yield* submit("b")
          yield* TestClock.adjust("1 day")
          return yield* Effect.forEach(jobs, lifeOf)
        })
        assert.deepStrictEqual(
          yield* together.pipe(Effect.provide(TestJobQueue.layer({ workers }))),
          yield* alone.pipe(Effect.provide(TestJobQueue.layer({ workers })))
        )
      }))

    it.effect("the times of a job do not depend on polls", () =>
      Effect.gen(function*() {
        const unseen = yield* life({ script: times }, "a")
        const seen = yield* Effect.gen(function*() {
          const job = yield* submit()
          for (let i = 0; i < 50; i++) {
            yield* JobQueue.status(job)
            yield* JobQueue.metrics(model)
            yield* TestClock.adjust("1234 millis")
          }
          return yield* lifeOf(job)
        }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: times }, seed: "a" })))
        assert.deepStrictEqual(seen, unseen)
      }))
  })

  describe("pools", () => {
    /** A script whose duration is the payload's `seconds`. */
    const finishByPayload: Worker.Script = ({ payload }) => [
      Worker.finish(Duration.seconds(Number(payload["seconds"] ?? 10)))
    ]

    const claimOf = (job: Job.JobRef) => Effect.map(lifeOf(job), (life) => life.slice(1).join(", "))

    it.effect("one worker runs one job at a time, in order of submission", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.replicateEffect(submit(), 3)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Effect.forEach(jobs, claimOf), [
          "Claimed 1 at 0, Completed 1 at 10s",
          "Claimed 1 at 10s, Completed 1 at 20s",
          "Claimed 1 at 20s, Completed 1 at 30s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload } }))))

    it.effect("several workers run jobs concurrently; the first idle worker claims the next job", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.forEach([5, 12, 4, 1, 1], (seconds) => submit(model, 0, { seconds }))
        yield* TestClock.adjust("1 second")
        deepStrictEqual(yield* JobQueue.metrics(model), { running: 2, waiting: 3, total: 5 })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Effect.forEach(jobs, claimOf), [
          "Claimed 1 at 0, Completed 1 at 5s",
          "Claimed 1 at 0, Completed 1 at 12s",
          "Claimed 1 at 5s, Completed 1 at 9s",
          "Claimed 1 at 9s, Completed 1 at 10s",
          "Claimed 1 at 10s, Completed 1 at 11s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload, workers: 2 } }))))

    it.effect("workers claim the highest priority first, and the oldest job among equal priorities", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.forEach([0, 0, 5, -1, 5, 0], (priority) => submit(model, priority))
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(yield* Effect.forEach(jobs, claimOf), [
          // no other job was submitted yet
          "Claimed 1 at 0, Completed 1 at 10s",
          "Claimed 1 at 30s, Completed 1 at 40s",
          "Claimed 1 at 10s, Completed 1 at 20s",
          "Claimed 1 at 50s, Completed 1 at 1m",
          "Claimed 1 at 20s, Completed 1 at 30s",
          "Claimed 1 at 40s, Completed 1 at 50s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload } }))))

    it.effect("a requeued job keeps its place in the queue", () =>
      Effect.gen(function*() {
        const [lost, urgent, later] = yield* Effect.all([submit(), submit(model, 1, { urgent: true }), submit()])
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(yield* Effect.forEach([lost, urgent, later], claimOf), [
          "Claimed 1 at 0, Requeued 1 at 3s, Claimed 2 at 4s, Completed 2 at 5s",
          "Claimed 1 at 3s, Completed 1 at 4s",
          "Claimed 1 at 5s, Requeued 1 at 8s, Claimed 2 at 8s, Completed 2 at 9s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: {
          claimTimeout: "3 seconds",
          script: ({ attempt, payload }) =>
            attempt === 1 && payload["urgent"] !== true ? [Worker.stopResponding] : [Worker.finish("1 second")]
        }
      }))))

    it.effect("an idle worker claims a job after the pickup delay", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.replicateEffect(submit(), 2)
        yield* TestClock.adjust("1 minute")
        // the delay applies again before the next claim
        assert.deepStrictEqual(yield* Effect.forEach(jobs, claimOf), [
          "Claimed 1 at 3s, Completed 1 at 13s",
          "Claimed 1 at 16s, Completed 1 at 26s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload, pickup: "3 seconds" } }))))

    it.effect("an idle worker claims the job that is first when the pickup delay ends", () =>
      Effect.gen(function*() {
        const first = yield* submit()
        yield* TestClock.adjust("2 seconds")
        const urgent = yield* submit(model, 1)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Effect.forEach([first, urgent], claimOf), [
          "Claimed 1 at 16s, Completed 1 at 26s",
          "Claimed 1 at 3s, Completed 1 at 13s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload, pickup: "3 seconds" } }))))

    it.effect("a job that is canceled before the pickup is not claimed", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("2 seconds")
        yield* JobQueue.cancel(job)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* claimOf(job), "Canceled 0 at 2s")
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload, pickup: "3 seconds" } }))))

    it.effect("a pool has its number of workers for each model", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.forEach(["a", "b", "a", "b"], (name) => submit(name))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* Effect.forEach(jobs, claimOf), [
          "Claimed 1 at 0, Completed 1 at 10s",
          "Claimed 1 at 0, Completed 1 at 10s",
          "Claimed 1 at 10s, Completed 1 at 20s",
          "Claimed 1 at 10s, Completed 1 at 20s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: finishByPayload } }))))

    it.effect("two pools for one model: both claim jobs, the first pool first", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.replicateEffect(submit(), 4)
        yield* TestClock.adjust("1 minute")
        const by = yield* Effect.forEach(jobs, (job) =>
          Effect.gen(function*() {
            return `${(yield* JobQueue.status(job)).outputs["by"]}: ${yield* claimOf(job)}`
          }))
        assert.deepStrictEqual(by, [
          "fast: Claimed 1 at 0, Completed 1 at 2s",
          "slow: Claimed 1 at 0, Completed 1 at 5s",
          "fast: Claimed 1 at 2s, Completed 1 at 4s",
          "fast: Claimed 1 at 4s, Completed 1 at 6s"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: [
          { model, script: Worker.always(Worker.finish("2 seconds", { by: "fast" })) },
          { script: Worker.always(Worker.finish("5 seconds", { by: "slow" })) }
        ]
      }))))

    it.effect("a pool can claim a job that another pool has lost", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(
          yield* claimOf(job),
          "Claimed 1 at 0, Requeued 1 at 5s, Claimed 2 at 6s, Completed 2 at 16s"
        )
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: [
          { script: Worker.always(Worker.late(Worker.finish("1 minute"))), claimTimeout: "5 seconds" },
          { script: finishByPayload, pickup: "1 second" }
        ]
      }))))

    it.effect("a pool for one model, and the test itself for another", () =>
      Effect.gen(function*() {
        const { claim, finish, heartbeat } = TestJobQueue
        const theirs = yield* submit("theirs")
        const mine = yield* submit("mine")
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual((yield* JobQueue.status(mine))._tag, "Pending")
        const task = yield* claim("mine")
        deepStrictEqual(task, Option.some({ job: mine, nth: 2, attempt: 1, payload: {}, info: {} }))
        assertNone(yield* claim("mine"))
        assertNone(yield* claim("theirs"))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* heartbeat(Option.getOrThrow(task), { progress: 0.5 }))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* finish(mine, { answer: 42 }))
        assert.isFalse(yield* finish(mine))
        assert.strictEqual(yield* claimOf(theirs), "Claimed 1 at 0, Completed 1 at 10s")
        assert.strictEqual(yield* claimOf(mine), "Claimed 1 at 15s, Progressed 1 at 16s, Completed 1 at 17s")
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { model: "theirs", script: finishByPayload } }))))

    it.effect("with one worker per job, no job waits", () =>
      Effect.gen(function*() {
        const histories = yield* lives({ script: finishByPayload, workers: 50 }, 50)
        assert.deepStrictEqual(new Set(histories.map((life) => life[1])), new Set(["Claimed 1 at 0"]))
      }))
  })

  describe("the test as a worker", () => {
    it.effect("has a claim timeout of 90 seconds by default, and its reports return false once the claim is lost", () =>
      Effect.gen(function*() {
        const { claim, fail, finish, heartbeat } = TestJobQueue
        const job = yield* submit()
        const first = Option.getOrThrow(yield* claim(model))
        yield* TestClock.adjust("89999 millis")
        assert.isTrue(yield* heartbeat(first))
        yield* TestClock.adjust("90 seconds")
        assert.isFalse(yield* heartbeat(first))
        const second = Option.getOrThrow(yield* claim(model, "5 seconds"))
        assert.strictEqual(second.attempt, 2)
        // a report by the first task does not apply to the second; one by job reference applies to the current claim
        assert.isFalse(yield* finish(first, { by: "the first" }))
        assert.isFalse(yield* fail(first, "too late"))
        assert.isTrue(yield* heartbeat(job, { by: "anyone" }))
        yield* TestClock.adjust("4 seconds")
        assert.isTrue(yield* fail(second, "out of memory"))
        assert.deepStrictEqual(yield* lifeOf(job), [
          "Queued 0 at 0",
          "Claimed 1 at 0",
          "Requeued 1 at 2m 59s 999ms",
          "Claimed 2 at 2m 59s 999ms",
          "Progressed 2 at 2m 59s 999ms",
          "FailedByModel 2 at 3m 3s 999ms"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("reports return false for a job that is unclaimed or unknown", () =>
      Effect.gen(function*() {
        const { claim, fail, finish, heartbeat, transitions } = TestJobQueue
        const job = yield* submit()
        for (const other of [job, Job.ref(model, "no such job"), Job.ref("another model", job.requestId)]) {
          assert.isFalse(yield* heartbeat(other))
          assert.isFalse(yield* finish(other))
          assert.isFalse(yield* fail(other, "no"))
        }
        assertNone(yield* claim("another model"))
        deepStrictEqual(yield* transitions(Job.ref(model, "no such job")), [])
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })
})
