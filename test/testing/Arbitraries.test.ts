import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { maxRetries } from "../../src/model/internal/limits.js"
import * as Job from "../../src/model/Job.js"
import * as Transition from "../../src/model/Transition.js"
import * as JobQueue from "../../src/queue/JobQueue.js"
import type { Fault, Worker } from "../../src/testing/index.js"
import { Arbitraries, TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { TypeId } from "../../src/testing/internal/fault.js"
import * as JobStream from "../../src/watch/JobStream.js"
import { atEpoch } from "../fixtures/inQueue.js"
import { history, polled } from "../fixtures/jobHistories.js"
import { passingFaults } from "../fixtures/passingFaults.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const minute = 60_000

const model = "my-org/video-generator"

const print = (value: unknown): string => FastCheck.stringify(value)

const samples = <A>(arbitrary: FastCheck.Arbitrary<A>, numRuns: number): ReadonlyArray<A> =>
  FastCheck.sample(arbitrary, { seed: 1, numRuns })

const lifeOf = (transitions: Iterable<Transition.Transition>): ReadonlyArray<string> =>
  Array.from(transitions)
    .filter(({ _tag }) => _tag !== "Progressed")
    .map(({ _tag, attempt }) => `${_tag} ${attempt}`)

const stepsOf = (script: Worker.Script, attempt: number): ReadonlyArray<Worker.Step> =>
  script({ job: Job.ref(model, "any"), nth: 1, attempt, payload: {}, info: {} }, () => 0.5)

describe("history", () => {
  it("reaches every state, by every step, with every number of attempts", () => {
    const { met, note } = tally()
    for (const { job, moments, transitions } of samples(history, runs(1_000, 2_000))) {
      note(job.model)
      note(`ends ${moments.at(-1)!.status._tag}`)
      for (const { _tag, attempt } of transitions) note(_tag === "Progressed" ? _tag : `${_tag} ${attempt}`)
      for (const { status: { info } } of moments) {
        if (Object.keys(info).length > 32) note("much info")
        if (Object.hasOwn(info, "__proto__")) note("__proto__")
      }
    }
    met(
      model,
      "größe/模型 🦊?&=%2F",
      ...["Pending", "Running", "Done", "Failed", "Canceled"].map((state) => `ends ${state}`),
      "Queued 0",
      "Progressed",
      ...[1, 2, 3].map((n) => `Requeued ${n}`),
      ...[1, 2, 3, 4].flatMap((n) => [`Claimed ${n}`, `Completed ${n}`, `FailedByModel ${n}`]),
      ...[0, 1, 2, 3].map((n) => `Canceled ${n}`),
      "RetriesExhausted 4",
      "much info",
      "__proto__"
    )
  })

  it("is legal: valid order of steps, non-decreasing times, one job", () => {
    const next: { readonly [state: string]: ReadonlyArray<string> } = {
      Pending: ["Running", "Canceled"],
      Running: ["Running", "Pending", "Done", "Failed"],
      Done: [],
      Failed: [],
      Canceled: []
    }
    FastCheck.assert(
      FastCheck.property(history, ({ job, moments }) => {
        assert.strictEqual(moments[0]!.status._tag, "Pending")
        assert.strictEqual(moments[0]!.at, DateTime.toEpochMillis(Option.getOrThrow(moments[0]!.status.createdAt)))
        for (const { status } of moments) assert.deepStrictEqual(status.job, job)
        moments.slice(1).forEach(({ at, status }, i) => {
          const before = moments[i]!
          assert.isAtLeast(at, before.at)
          assert.include(next[before.status._tag]!, status._tag)
          const lost = before.status._tag === "Running" && status._tag === "Pending" ? 1 : 0
          assert.strictEqual(
            Option.getOrThrow(status.retries),
            Option.getOrThrow(before.status.retries) + lost
          )
          assert.isAtMost(Option.getOrThrow(status.retries), maxRetries)
        })
      }),
      { numRuns: runs(100, 200) }
    )
  })

  it("its transitions are those of a watch that polls at every moment, each observed when it happened", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(history, async ({ moments, transitions }) => {
        const seen = await Effect.runPromise(
          Stream.runCollect(JobStream.fromStatuses(Stream.fromIterable(moments.map(({ status }) => status))))
        )
        const printed = (all: Iterable<Transition.Transition>) =>
          Array.from(all, ({ _tag, attempt, snapshot }) => `${_tag} ${attempt} ${JSON.stringify(snapshot.info)}`)
        assert.deepStrictEqual(printed(seen), printed(transitions))
        const states = moments.filter(({ status }, i) => status._tag !== moments[i - 1]?.status._tag)
        const steps = transitions.filter(({ _tag }) => _tag !== "Progressed")
        assert.deepStrictEqual(
          steps.map(({ observedAt }) => DateTime.toEpochMillis(observedAt)),
          states.map(({ at }) => at)
        )
        for (const { evidence } of transitions) assert.strictEqual(evidence, "observed")
        // a reported time equals the time of the history
        for (const { at, observedAt } of steps) {
          if (Option.isSome(at)) assert.isTrue(DateTime.Equivalence(at.value, observedAt))
        }
      }),
      { numRuns: runs(100, 200) }
    )
  })

  it("is the same for the same seed", () => {
    const twice = [1, 2].map(() => samples(history, 100).map(print))
    assert.deepStrictEqual(twice[0], twice[1])
    assert.isAbove(new Set(twice[0]).size, 80)
  })

  it("shrinks to a job in the queue, and prints on one line", () => {
    const { counterexamplePath, counterexample } = FastCheck.check(
      FastCheck.property(history, () => false),
      {
        seed: 1
      }
    )
    assert.isNotNull(counterexamplePath)
    assert.strictEqual(print(counterexample![0]), "{ Pending +0 }")

    const lost = FastCheck.check(
      FastCheck.property(
        history,
        ({ moments }) => moments.every(({ status }) => Option.getOrThrow(status.retries) < 2)
      ),
      { seed: 1, numRuns: 1_000 }
    )
    assert.strictEqual(
      print(lost.counterexample![0]),
      "{ Pending +0, Running +0, Pending (retry 1) +1, Running (retry 1) +1, Pending (retry 2) +2 }"
    )
  })
})

describe("polled", () => {
  it("has repeats, gaps and, with `stale`, stale responses, also as the last one", () => {
    for (const stale of [true, false]) {
      const { met, note } = tally()
      for (const { history: { moments }, polls } of samples(polled({ stale }), runs(300, 800))) {
        const index = polls.map(({ status }) => moments.findIndex((moment) => moment.status === status))
        assert.notInclude(index, -1)
        if (index.some((n, i) => n === index[i - 1])) note("repeat")
        if (new Set(index).size < moments.length) note("gap")
        if (new Set(index).size === moments.length) note("all")
        if (polls.length === 1) note("one")
        const behind = index.some((n, i) => index.slice(0, i).some((seen) => n < seen))
        assert.isTrue(stale || !behind)
        if (behind) note("stale")
        if (index.at(-1) !== moments.length - 1) note("stale last")
      }
      met("repeat", "gap", "all", "one", ...stale ? ["stale", "stale last"] : [])
    }
  })

  it("transitions derived from it contain every step of the history, at possible times", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(polled({ stale: true }), async ({ history, polls }) => {
        polls.forEach(({ at, status }, i) => {
          assert.isAtLeast(at, polls[i - 1]?.at ?? history.moments[0]!.at)
          assert.isAtLeast(at, history.moments.find((moment) => moment.status === status)!.at)
        })
        const seen = await Effect.runPromise(
          Stream.runCollect(JobStream.fromStatuses(Stream.fromIterable(polls.map(({ status }) => status))))
        )
        assert.deepStrictEqual(lifeOf(seen), lifeOf(history.transitions))
      }),
      { numRuns: runs(100, 200) }
    )
  })

  it("prints the history and the polls", () => {
    const { counterexample } = FastCheck.check(
      FastCheck.property(
        polled({ stale: true }),
        ({ polls }) => polls.every(({ at }, i) => i === 0 || at > polls[i - 1]!.at)
      ),
      { seed: 1 }
    )
    assert.strictEqual(print(counterexample![0]), "{ Pending +0 }, seen: { Pending +0, Pending +0 }")
  })
})

describe("script", () => {
  it("has every step, late and in time, and every possible number of attempts", () => {
    const { met, note } = tally()
    for (const script of samples(Arbitraries.script, 2_000)) {
      const attempts = [1, 2, 3, 4].map((attempt) => stepsOf(script, attempt))
      note(`${new Set(attempts).size} attempts`)
      for (const steps of attempts) {
        note(`${steps.length} steps`)
        for (const step of steps) {
          const status = step.report?.status ?? "none"
          note(step.late ? `late ${status}` : status)
          if (status === "running" && "progress" in step.report!.info!) note("progress")
        }
      }
    }
    met(
      ...[1, 2, 3, 4].flatMap((n) => [`${n} steps`, `${n} attempts`]),
      ...["running", "done", "failed"].flatMap((status) => [status, `late ${status}`]),
      "none",
      "progress"
    )
  })

  it("shrinks, and prints its steps", () => {
    const counterexampleOf = (holds: (first: ReadonlyArray<Worker.Step>) => boolean) =>
      FastCheck.check(FastCheck.property(Arbitraries.script, (script) => holds(stepsOf(script, 1))), {
        seed: 1,
        numRuns: 10_000
      }).counterexample![0]
    assert.strictEqual(
      print(counterexampleOf(([step]) => step?.report?.status !== "failed" || !step.late)),
      "attempts([fail {\"error\":\"out of memory\"} after 0, late])"
    )
    assert.strictEqual(
      print(counterexampleOf((steps) => steps.length < 2)),
      "attempts([heartbeat after 0; finish after 0])"
    )
  })
})

const submitted = (count: number) =>
  Effect.all(Array.from(
    { length: count },
    (_, n) => JobQueue.submit({ model, payload: { n }, priority: n % 2 })
  ))

describe("pool", () => {
  it("every job ends within 8 minutes per submitted job", async () => {
    const { met, note } = tally()
    let longest = 0
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        FastCheck.integer({ min: 1, max: 6 }),
        (workers, count) =>
          Effect.gen(function*() {
            const jobs = yield* submitted(count)
            const queue = yield* TestJobQueue.TestJobQueue
            yield* Effect.sleep(8 * minute * count)
            for (const job of jobs) {
              const transitions = yield* queue.transitions(job)
              const end = transitions.at(-1)!
              assert.isTrue(Transition.isTerminal(end), lifeOf(transitions).join(", "))
              note(`${end._tag} ${end.attempt}`)
              if (count === 1) longest = Math.max(longest, DateTime.toEpochMillis(end.observedAt) - queue.startedAt)
            }
          }).pipe(
            VirtualTime.run,
            Effect.provide(atEpoch({ workers })),
            Effect.runPromise
          )
      ),
      { numRuns: runs(75, 150) }
    )
    met("Completed 1", "Completed 2", "Completed 3", "FailedByModel 1", "FailedByModel 2", "RetriesExhausted 4")
    // not all jobs end at once
    assert.isAbove(longest, 30_000)
  })

  it("has one to three workers, and prints", () => {
    const { met, note } = tally()
    for (const { claimTimeout, pickup, workers } of samples(Arbitraries.pool, 2_000)) {
      note(`${workers} workers`)
      note(`pickup ${Duration.format(pickup!)}`)
      note(`claims of ${Duration.format(claimTimeout!)}`)
    }
    met("1 workers", "2 workers", "3 workers", "pickup 0", "pickup 3s", "claims of 5s", "claims of 30s")
    const { counterexample } = FastCheck.check(FastCheck.property(Arbitraries.pool, () => false), { seed: 1 })
    assert.strictEqual(
      print(counterexample![0]),
      "{ workers: 1, claimTimeout: 10s, pickup: 0, script: attempts([finish after 0]) }"
    )
  })
})

/** The effect and the conditions of a fault, by name. */
const namesOf = ({ label, [TypeId]: { conditions, effect } }: Fault.Fault): ReadonlyArray<string> => [
  effect._tag === "Answer" ? `Answer ${effect.status}` : effect._tag,
  ...effect._tag === "Snapshot" ? [label.replace(/.* (behind|ahead)$/, "$1").replace(/[,\s].*$/, "")] : [],
  ...conditions.map(kindOf)
]

/** The kind of a condition, by its words. */
const kindOf = ({ label }: { readonly label: string }): string => {
  if (/^calls? \d+/.test(label)) return "Nth"
  if (/^[\d.]+ % of the calls$/.test(label)) return "Share"
  return /^from .+ to .+$/.test(label) ? "During" : "Where"
}

describe("faults", () => {
  it("have every kind, every condition, and zero to four faults", () => {
    const { met, note } = tally()
    for (const faults of samples(Arbitraries.faults, 2_000)) {
      note(`${faults.length} faults`)
      for (const fault of faults) {
        note(`${fault[TypeId].conditions.length} conditions`)
        namesOf(fault).forEach(note)
      }
    }
    met(
      ...[0, 1, 2, 3, 4].map((n) => `${n} faults`),
      ...[0, 1, 2, 3].map((n) => `${n} conditions`),
      ...[200, 204, 301, 304, 400, 401, 403, 404, 408, 409, 418, 422, 429, 500, 501, 502, 503, 504].map((status) =>
        `Answer ${status}`
      ),
      ...["Disconnect", "Hang", "AnswerLost", "Wait", "CutOff", "Snapshot"],
      ...["Where", "Nth", "Share", "During"],
      ...["ahead", "behind", "status", "without"]
    )
  })

  it("print their effect and conditions", () => {
    const { counterexample } = FastCheck.check(
      FastCheck.property(
        Arbitraries.faults,
        (faults) =>
          faults.every(({ [TypeId]: { conditions, effect } }) =>
            effect._tag !== "Wait" || !conditions.some((condition) => kindOf(condition) === "Nth")
          )
      ),
      { seed: 1, numRuns: 10_000 }
    )
    assert.strictEqual(print(counterexample![0]), "[delay of 0, call 1]")
  })

  it("are the same for the same seed", () => {
    for (const arbitrary of [Arbitraries.faults, passingFaults, Arbitraries.pool]) {
      const twice = [1, 2].map(() => samples<unknown>(arbitrary, 100).map(print))
      assert.deepStrictEqual(twice[0], twice[1])
    }
  })
})

describe("passingFaults", () => {
  it("have every transient kind, are bounded in number or in time, and apply to polls only", () => {
    const { met, note } = tally()
    for (const faults of samples(passingFaults, 2_000)) {
      note(`${faults.length} faults`)
      for (const fault of faults) {
        namesOf(fault).forEach(note)
        assert.isTrue(
          fault[TypeId].conditions.some((condition) =>
            kindOf(condition) === "During" || (kindOf(condition) === "Nth" && !condition.label.endsWith("Infinity"))
          )
        )
        assert.match(String(fault), /, status, /)
      }
    }
    met(
      ...[0, 1, 2, 3, 4].map((n) => `${n} faults`),
      ...[200, 302, 404, 418, 429, 500, 502, 503, 504].map((status) => `Answer ${status}`),
      ...["Disconnect", "Hang", "AnswerLost", "Wait", "CutOff", "Snapshot"],
      ...["Where", "Nth", "Share", "During", "behind"]
    )
  })

  it("a watch with the default policy ends within half an hour without an error, and matches the history", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(Arbitraries.pool, passingFaults, (workers, faults) =>
        Effect.gen(function*() {
          const job = (yield* submitted(1))[0]!
          const events = yield* Stream.runCollect(JobStream.events(job))
          const seen = Array.from(events).filter((event) => event._tag !== "Trouble" && event._tag !== "Recovered")
          yield* TestJobQueue.expectMatchesHistory(job, seen)
          assert.isTrue(Transition.isTerminal(seen.at(-1)!))
          const { calls, startedAt } = yield* TestJobQueue.TestJobQueue
          assert.isAtMost(yield* Clock.currentTimeMillis, startedAt + 30 * minute)
          // a repeated poll may still be reading a body, which ends in a promise
          yield* Effect.sleep("1 millis")
          for (const { end } of yield* calls) assert.isDefined(end)
          for (const event of events) note(event._tag === "Trouble" ? event.error._tag : event._tag)
        }).pipe(
          VirtualTime.run,
          Effect.provide(atEpoch({ workers, faults })),
          Effect.runPromise
        )),
      { numRuns: runs(40, 120) }
    )
    met(
      "Requeued",
      "Recovered",
      "JobNotFound",
      "RateLimited",
      "Unavailable",
      "Unreachable",
      "UnexpectedResponse"
    )
  })

  it("the same holds for several concurrent watches with random start times", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        passingFaults,
        FastCheck.array(FastCheck.nat({ max: 90_000 }), { minLength: 2, maxLength: 4 }),
        (workers, faults, waits) =>
          Effect.gen(function*() {
            const jobs = yield* submitted(waits.length)
            yield* Effect.forEach(
              jobs,
              (job, i) =>
                Stream.runCollect(JobStream.transitions(job)).pipe(
                  Effect.delay(waits[i]!),
                  Effect.flatMap((seen) => TestJobQueue.expectMatchesHistory(job, seen))
                ),
              { concurrency: "unbounded" }
            )
          }).pipe(
            VirtualTime.run,
            Effect.provide(atEpoch({ workers, faults })),
            Effect.runPromise
          )
      ),
      { numRuns: runs(20, 80) }
    )
  })
})
