import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Job from "../../src/model/Job.js"
import * as JobSummary from "../../src/model/JobSummary.js"
import * as Transition from "../../src/model/Transition.js"
import type { History } from "../fixtures/histories.js"
import * as Histories from "../fixtures/histories.js"
import { runs } from "../fixtures/runs.js"

// fast-check prints the seed and the smallest counterexample of a law that fails
const numRuns = runs(50, 100)

const isStep = (transition: Transition.Transition): boolean => transition._tag !== "Progressed"

const ends: ReadonlyArray<string> = ["Requeued", "Completed", "FailedByModel", "RetriesExhausted", "Unrecognized"]

const millisOf = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.getOrUndefined(Option.map(time, DateTime.toEpochMillis))

/** Comparable as JSON: `deepStrictEqual` does not distinguish a `Some` from a `None`. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

const summarize = (transitions: ReadonlyArray<Transition.Transition>): JobSummary.JobSummary =>
  transitions.reduce(JobSummary.add, JobSummary.empty(transitions[0]!.job))

/** The figures of the history. */
const figuresOf = ({ events }: History) => {
  let inQueue = 0
  let running = 0
  events.forEach(({ at }, i) => {
    const before = events[i - 1]
    if (before?._tag === "Claimed") running += at - before.at
    else if (before !== undefined) inQueue += at - before.at
  })
  return {
    inQueue,
    running,
    attempts: events.flatMap(({ _tag, at, attempt }, i) =>
      _tag === "Claimed" ? [{ attempt, claimedAt: at, endedAt: events[i + 1]?.at }] : []
    )
  }
}

/** The transitions of a history that is polled at every moment. */
const ofEveryMoment = (history: History): ReadonlyArray<Transition.Transition> =>
  Histories.transitionsOf(Histories.everyMoment(history).samples)

/** The same, as if the service reported the time of every step. */
const withAllTimes = (history: History): ReadonlyArray<Transition.Transition> => {
  let steps = 0
  return ofEveryMoment(history).map((transition) =>
    isStep(transition)
      ? { ...transition, at: Option.some(DateTime.unsafeMake(history.events[steps++]!.at)) }
      : transition
  )
}

/** The transitions of any samples, with a clock that may be ahead of the service's clock, or behind it. */
const skewed = FastCheck.tuple(
  Histories.anySamplesOfAnyState,
  FastCheck.constantFrom(0, -10_000, 10_000)
).map(([samples, skew]) =>
  Histories.printedTransitions(Histories.transitionsOf(
    samples.map((sample) => ({ ...sample, observedAt: DateTime.add(sample.observedAt, { millis: skew }) })),
    { unrecognized: "end" }
  ))
)

/** The transitions from one of them on, as after a start from a cursor. */
const partOf = (transitions: ReadonlyArray<Transition.Transition>, from: number) =>
  transitions.slice(from % transitions.length)

describe("JobSummary", () => {
  it("with the time of every step, the figures equal those of the history, and are exact", () => {
    FastCheck.assert(
      FastCheck.property(Histories.history, (history) => {
        const summary = summarize(withAllTimes(history))
        const { attempts, inQueue, running } = figuresOf(history)
        assert.strictEqual(Duration.toMillis(summary.inQueue), inQueue)
        assert.strictEqual(Duration.toMillis(summary.running), running)
        assert.isTrue(summary.exact)
        assert.strictEqual(millisOf(summary.since), history.events.at(-1)!.at)
        assert.deepStrictEqual(
          summary.attempts.map(({ attempt, claimedAt, endedAt }) => ({
            attempt,
            claimedAt: millisOf(claimedAt)!,
            endedAt: millisOf(endedAt)
          })),
          attempts
        )
      }),
      { numRuns }
    )
  })

  it("with the times that the service reports, and each step polled at once, the figures equal those of the history too", () => {
    FastCheck.assert(
      FastCheck.property(Histories.history, (history) => {
        const summary = summarize(ofEveryMoment(history))
        const { inQueue, running } = figuresOf(history)
        assert.strictEqual(Duration.toMillis(summary.inQueue), inQueue)
        assert.strictEqual(Duration.toMillis(summary.running), running)
        // the service does not report when a claim was lost, or when a job was canceled
        assert.strictEqual(
          summary.exact,
          history.events.every(({ _tag }) => _tag !== "Requeued" && _tag !== "Canceled")
        )
      }),
      { numRuns }
    )
  })

  it("attempts, progress and outcome are those of the transitions", () => {
    FastCheck.assert(
      FastCheck.property(skewed, (transitions) => {
        const summary = summarize(transitions)
        const last = transitions.at(-1)!
        assert.deepStrictEqual(
          Option.getOrUndefined(summary.outcome),
          Transition.isTerminal(last) ? last._tag : undefined
        )
        const steps = transitions.filter(isStep)
        assert.deepStrictEqual(
          plain(summary.attempts),
          plain(steps.flatMap((step, i) => {
            if (step._tag !== "Claimed") return []
            const end = steps[i + 1]
            assert.isTrue(end === undefined || ends.includes(end._tag))
            return [{
              attempt: step.attempt,
              claimedAt: step.at,
              endedAt: end === undefined ? Option.none() : end.at,
              end: end === undefined ? Option.none() : Option.some(end._tag as any)
            }]
          }))
        )
        const claimed = transitions.map(({ _tag }) => _tag).lastIndexOf("Claimed")
        const progress = transitions.slice(claimed + 1).filter((transition) => transition._tag === "Progressed").at(-1)
        assert.strictEqual(
          Option.getOrUndefined(summary.progress),
          progress === undefined ? undefined : Option.getOrUndefined(progress.progress)
        )
      }),
      { numRuns }
    )
  })

  it("exact is true if and only if every step has a time", () => {
    FastCheck.assert(
      FastCheck.property(skewed, FastCheck.nat({ max: 1_000 }), (all, from) => {
        const transitions = partOf(all, from)
        assert.strictEqual(
          summarize(transitions).exact,
          transitions.filter(isStep).every(({ at }) => Option.isSome(at))
        )
      }),
      { numRuns }
    )
  })

  it("inQueue and running add up to the time from the first step to the last, if both have a time", () => {
    FastCheck.assert(
      FastCheck.property(skewed, (all) => {
        const timed = all.map(({ at }) => Option.isSome(at))
        const transitions = all.slice(timed.indexOf(true), timed.lastIndexOf(true) + 1)
        if (transitions.length === 0) return
        const { inQueue, running } = summarize(transitions)
        assert.strictEqual(
          Duration.toMillis(inQueue) + Duration.toMillis(running),
          millisOf(transitions.at(-1)!.at)! - millisOf(transitions[0]!.at)!
        )
      }),
      { numRuns: 2 * numRuns }
    )
  })

  it("running is at least the duration of all attempts that have both times", () => {
    FastCheck.assert(
      FastCheck.property(skewed, (transitions) => {
        const { attempts, running } = summarize(transitions)
        const known = attempts.reduce((sum, { claimedAt, endedAt }) => {
          const [from, to] = [millisOf(claimedAt), millisOf(endedAt)]
          return from === undefined || to === undefined ? sum : sum + to - from
        }, 0)
        assert.isAtLeast(Duration.toMillis(running), known)
      }),
      { numRuns: 2 * numRuns }
    )
  })

  it("never decreases, from any transition on", () => {
    FastCheck.assert(
      FastCheck.property(skewed, FastCheck.nat({ max: 1_000 }), (all, from) => {
        let summary = JobSummary.empty(all[0]!.job)
        for (const transition of partOf(all, from)) {
          const next = JobSummary.add(summary, transition)
          assert.isAtLeast(Duration.toMillis(next.inQueue), 0)
          assert.isAtLeast(Duration.toMillis(next.running), 0)
          assert.isFalse(!summary.exact && next.exact)
          summary = next
        }
      }),
      { numRuns: numRuns / 2 }
    )
  })

  it("is the same wherever the fold is split, counts the transitions, and mutates no summary", () => {
    FastCheck.assert(
      FastCheck.property(skewed, FastCheck.nat({ max: 1_000 }), (transitions, split) => {
        const at = split % (transitions.length + 1)
        const { job } = transitions[0]!
        const half = transitions.slice(0, at).reduce(JobSummary.add, JobSummary.empty(job))
        const before = JSON.stringify(half)
        const whole = transitions.slice(at).reduce(JobSummary.add, half)
        assert.deepStrictEqual(plain(whole), plain(summarize(transitions)))
        assert.strictEqual(JSON.stringify(half), before)
        assert.deepStrictEqual([half.transitions, whole.transitions], [at, transitions.length])
        assert.strictEqual(whole.job, job)
      }),
      { numRuns: numRuns / 2 }
    )
  })

  it("an example: one lost attempt, with the times that the service reports", () => {
    const job = Job.ref("my-org/video-generator", "1")
    const time = (seconds: number) => DateTime.unsafeMake(Date.UTC(2026, 1, 7, 10, 30, seconds))
    const at = (seconds: number) => Option.some(time(seconds))
    const fields = { job, createdAt: at(0) }
    const seen: ReadonlyArray<readonly [number, Job.JobStatus]> = [
      [1, Job.Pending({ ...fields, retries: Option.some(0) })],
      [6, Job.Running({ ...fields, retries: Option.some(0), claimedAt: at(5), info: { progress: 0.5 } })],
      [21, Job.Pending({ ...fields, retries: Option.some(1), info: { progress: 0.5 } })],
      [40, Job.Done({ ...fields, retries: Option.some(1), claimedAt: at(25), doneAt: at(35), info: { progress: 0.5 } })]
    ]
    const { attempts, exact, inQueue, outcome, progress, running, since, transitions } = summarize(
      Histories.transitionsOf(
        seen.map(([seconds, status]) => ({ moment: undefined, status, observedAt: time(seconds) }))
      )
    )
    assert.deepStrictEqual(
      plain({ attempts, exact, inQueue, outcome, progress, running, since, transitions }),
      plain({
        transitions: 6,
        attempts: [
          { attempt: 1, claimedAt: at(5), endedAt: Option.none(), end: Option.some("Requeued") },
          { attempt: 2, claimedAt: at(25), endedAt: at(35), end: Option.some("Completed") }
        ],
        progress: Option.none(),
        inQueue: Duration.seconds(5 + 4),
        // the claim was lost at some time up to second 21, when the poll observed it
        running: Duration.seconds(16 + 10),
        exact: false,
        outcome: Option.some("Completed"),
        since: at(35)
      })
    )
  })

  it("an example: inferred steps count as taken with the step before them", () => {
    const job = Job.ref("my-org/video-generator", "1")
    const time = (seconds: number) => DateTime.unsafeMake(Date.UTC(2026, 1, 7, 10, 30, seconds))
    const at = (seconds: number) => Option.some(time(seconds))
    const done = Job.Done({ job, createdAt: at(0), retries: Option.some(1), claimedAt: at(25), doneAt: at(35) })
    const { attempts, exact, inQueue, running } = summarize(
      Histories.transitionsOf([{ moment: undefined, status: done, observedAt: time(40) }])
    )
    assert.strictEqual(attempts.length, 2)
    assert.deepStrictEqual([Duration.toSeconds(inQueue), Duration.toSeconds(running), exact], [25, 10, false])
    const pending = Job.Pending({ job, createdAt: at(0), retries: Option.some(1) })
    const waiting = summarize(
      Histories.transitionsOf([{ moment: undefined, status: pending, observedAt: time(40) }])
    )
    // the claim and its loss happened at unknown times up to second 40
    assert.deepStrictEqual([Duration.toSeconds(waiting.inQueue), Duration.toSeconds(waiting.running)], [0, 40])
  })
})
