import { assert, describe, it } from "@effect/vitest"
import { assertSome } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import * as FastCheck from "effect/FastCheck"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import * as Job from "../../../src/model/Job.js"
import { snapshot } from "../../../src/testing/internal/history.js"
import * as QueueModel from "../../../src/testing/internal/queueModel.js"
import { runs } from "../../fixtures/runs.js"
import type { JobView, MetricsView, Queue, Request, State, StatusView, StepName, Update } from "./naiveQueue.js"
import { NaiveQueue } from "./naiveQueue.js"

// -----------------------------------------------------------------------------
// views of the model in the form of the naive queue
// -----------------------------------------------------------------------------

const viewOf = (job: QueueModel.QueuedJob): JobView => ({
  model: job.ref.model,
  requestId: job.ref.requestId,
  inputs: job.inputs,
  info: job.info,
  outputs: job.outputs,
  priority: job.priority,
  retries: job.retries,
  createdAt: job.createdAt,
  claimedAt: job.claimedAt ?? null,
  doneAt: job.doneAt ?? null,
  state: job.state,
  expiresAt: job.claim?.expiresAt ?? null,
  history: job.history.map(({ _tag, at, attempt }) => ({ name: _tag, attempt, at }))
})

const millisOf = (time: Option.Option<DateTime.Utc>): number | null =>
  Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

const statusViewOf = (status: Job.JobStatus): StatusView => ({
  model: status.job.model,
  requestId: status.job.requestId,
  inputs: status.inputs,
  info: status.info,
  outputs: status.outputs,
  priority: Option.getOrThrow(status.priority),
  retries: Option.getOrThrow(status.retries),
  createdAt: millisOf(status.createdAt),
  claimedAt: millisOf(status.claimedAt),
  doneAt: millisOf(status.doneAt),
  tag: status._tag,
  warnings: status.warnings
})

class Modeled implements Queue {
  constructor(public queue: QueueModel.QueueModel = QueueModel.empty) {}

  private keep<A>([queue, answer]: readonly [QueueModel.QueueModel, A]): A {
    this.queue = queue
    return answer
  }

  advance(now: number): number {
    this.queue = QueueModel.advance(this.queue, now)
    return this.queue.now
  }

  submit(now: number, request: Request): void {
    this.queue = QueueModel.submit(this.queue, now, request)
  }

  claim(now: number, model: string, timeout: number): JobView | null {
    return Option.getOrNull(Option.map(this.keep(QueueModel.claim(this.queue, now, { model, timeout })), viewOf))
  }

  update(now: number, update: Update): boolean {
    return this.keep(QueueModel.update(this.queue, now, update))
  }

  cancel(now: number, ref: Job.JobRef): State | null {
    return Option.getOrNull(this.keep(QueueModel.cancel(this.queue, now, ref)))
  }

  clear(now: number, model: string): number {
    return this.keep(QueueModel.clear(this.queue, now, model))
  }

  metrics(now: number, model: string): MetricsView {
    this.advance(now)
    return QueueModel.metrics(this.queue, model)
  }

  status(now: number, ref: Job.JobRef): StatusView | null {
    this.advance(now)
    const job = QueueModel.get(this.queue, ref)
    return Option.getOrNull(Option.map(job, (job) => statusViewOf(snapshot(job))))
  }
}

// -----------------------------------------------------------------------------
// the observable state
// -----------------------------------------------------------------------------

const models = ["my-org/video-generator", "__proto__", "größe/模型 🦊?&=%2F"]

interface View {
  readonly now: number
  readonly nextExpiry: number | null
  /** The jobs whose claims expire within `moment`. */
  readonly expiring: ReadonlyArray<string>
  readonly jobs: ReadonlyArray<JobView>
  readonly models: ReadonlyArray<{ readonly metrics: MetricsView; readonly next: string | null }>
}

const moment = 10

// Both advance to the current time first, because a claim with a timeout of zero expires at once.
const viewOfNaive = (naive: NaiveQueue): View => ({
  now: naive.advance(naive.now),
  nextExpiry: naive.nextExpiry(),
  expiring: naive.views()
    .filter(({ expiresAt }) => expiresAt !== null && expiresAt <= naive.now + moment)
    .map(({ requestId }) => requestId)
    .sort(),
  jobs: naive.views(),
  models: models.map((model) => ({
    metrics: naive.metrics(naive.now, model),
    next: naive.line(model)[0]?.ref.requestId ?? null
  }))
})

const viewOfModel = (self: QueueModel.QueueModel): View => {
  const queue = QueueModel.advance(self, self.now)
  return {
    now: queue.now,
    nextExpiry: Option.getOrNull(QueueModel.nextExpiry(queue)),
    expiring: QueueModel.expiring(queue, queue.now + moment).map(({ requestId }) => requestId).sort(),
    jobs: Array.from(HashMap.values(queue.jobs)).sort((a, b) => a.place.number - b.place.number).map(viewOf),
    models: models.map((model) => ({
      metrics: QueueModel.metrics(queue, model),
      next: Option.getOrNull(
        Option.map(QueueModel.claim(queue, queue.now, { model, timeout: 1 })[1], (job) => job.ref.requestId)
      )
    }))
  }
}

/** The jobs of a model in the order in which workers claim them. */
const drain = (queue: QueueModel.QueueModel, model: string): ReadonlyArray<string> => {
  const ids: Array<string> = []
  while (ids.length <= HashMap.size(queue.jobs)) {
    const [after, job] = QueueModel.claim(queue, queue.now, { model, timeout: 1 })
    if (Option.isNone(job)) return ids
    ids.push(job.value.ref.requestId)
    queue = after
  }
  return assert.fail(`more in line than there are jobs: ${ids}`)
}

const drainAll = (queue: QueueModel.QueueModel) => models.map((model) => drain(queue, model))

// The text is compared first because that is fast, the values where the texts differ (in the order of keys perhaps).
const same = (actual: unknown, expected: unknown, message?: string): void => {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) assert.deepStrictEqual(actual, expected, message)
}

// -----------------------------------------------------------------------------
// the commands of a run
// -----------------------------------------------------------------------------

interface Said {
  readonly status: Update["status"]
  readonly info?: Job.JsonObject | undefined
  readonly outputs?: Job.JsonObject | undefined
}

/** A job by its number; rarely one with another model's name, or one that does not exist. */
interface Which {
  readonly job: number
  readonly as: "known" | "of another model" | "unknown"
}

type Command =
  | { readonly command: "submit"; readonly model: string; readonly info: Job.JsonObject; readonly priority: number }
  | { readonly command: "claim"; readonly model: string; readonly timeout: number }
  /** from the worker of some claim, counted from the last: it holds the claim, or has lost it */
  | { readonly command: "report"; readonly claimsAgo: number; readonly said: Said }
  /** from a worker that sends no attempt, or an invented one */
  | { readonly command: "update"; readonly which: Which; readonly attempt: number | undefined; readonly said: Said }
  | { readonly command: "cancel"; readonly which: Which }
  | { readonly command: "clear"; readonly model: string }
  | { readonly command: "metrics"; readonly model: string }
  | { readonly command: "status"; readonly which: Which }
  | { readonly command: "advance" }
  /** moves the clock only: the queue advances with the next command */
  | { readonly command: "wait"; readonly millis: number }
  /** until the next claim expires, or just before, or just after */
  | { readonly command: "wait for an expiry"; readonly offset: number }

// one of them with more jobs than the others
const aModel = FastCheck.constantFrom(...models, models[0]!, models[0]!)

// `Object.fromEntries` makes `__proto__` a key of its own, as `JSON.parse` does. Frozen: no queue may write to it.
const anInfo: FastCheck.Arbitrary<Job.JsonObject> = FastCheck.array(
  FastCheck.tuple(
    FastCheck.constantFrom("progress", "error", "__proto__", "constructor", "1"),
    FastCheck.constantFrom<Array<unknown>>(0, 0.5, 1, "boom", "", null, { polluted: true }, [1, [2]])
  ),
  { maxLength: 3 }
).map((entries) => Object.freeze(Object.fromEntries(entries)))

const aSaid: FastCheck.Arbitrary<Said> = FastCheck.record({
  status: FastCheck.constantFrom("running", "running", "done", "failed"),
  info: FastCheck.option(anInfo, { nil: undefined }),
  outputs: FastCheck.option(anInfo, { nil: undefined })
})

const aWhich: FastCheck.Arbitrary<Which> = FastCheck.record({
  job: FastCheck.nat({ max: 30 }),
  as: FastCheck.constantFrom("known", "known", "known", "known", "known", "known", "of another model", "unknown")
})

const aPriority = FastCheck.oneof(FastCheck.constant(0), FastCheck.integer({ min: -2, max: 2 }), FastCheck.integer())

const week = 7 * 24 * 60 * 60 * 1000

const aTimeout = FastCheck.oneof(
  FastCheck.integer({ min: 0, max: 20 }),
  FastCheck.constantFrom(1, 100, 1000, 10 * week)
)

const aWait = FastCheck.oneof(
  FastCheck.integer({ min: 0, max: 5 }),
  FastCheck.integer({ min: 0, max: 200 }),
  FastCheck.constantFrom(week, 20 * week),
  // a clock that is set back
  FastCheck.integer({ min: -50, max: -1 })
)

const aCommand: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      command: FastCheck.constant("submit" as const),
      model: aModel,
      info: anInfo,
      priority: aPriority
    })
  },
  {
    weight: 12,
    arbitrary: FastCheck.record({
      command: FastCheck.constant("claim" as const),
      model: aModel,
      timeout: aTimeout
    })
  },
  {
    weight: 8,
    arbitrary: FastCheck.record({
      command: FastCheck.constant("report" as const),
      claimsAgo: FastCheck.nat({ max: 5 }),
      said: aSaid
    })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({
      command: FastCheck.constant("update" as const),
      which: aWhich,
      attempt: FastCheck.option(FastCheck.integer({ min: 0, max: 5 }), { nil: undefined }),
      said: aSaid
    })
  },
  { weight: 2, arbitrary: FastCheck.record({ command: FastCheck.constant("cancel" as const), which: aWhich }) },
  { weight: 1, arbitrary: FastCheck.record({ command: FastCheck.constant("clear" as const), model: aModel }) },
  { weight: 1, arbitrary: FastCheck.record({ command: FastCheck.constant("metrics" as const), model: aModel }) },
  { weight: 2, arbitrary: FastCheck.record({ command: FastCheck.constant("status" as const), which: aWhich }) },
  { weight: 1, arbitrary: FastCheck.record({ command: FastCheck.constant("advance" as const) }) },
  { weight: 4, arbitrary: FastCheck.record({ command: FastCheck.constant("wait" as const), millis: aWait }) },
  {
    weight: 9,
    arbitrary: FastCheck.record({
      command: FastCheck.constant("wait for an expiry" as const),
      offset: FastCheck.constantFrom(-1, 0, 0, 1)
    })
  }
)

const commands = FastCheck.array(aCommand, { maxLength: 60, size: "max" })

// -----------------------------------------------------------------------------
// a run of both queues, side by side
// -----------------------------------------------------------------------------

type Call = (queue: Queue) => unknown

interface Step {
  readonly command: Command
  readonly call: Call
  /** The results of both. */
  readonly actual: unknown
  readonly expected: unknown
  readonly before: QueueModel.QueueModel
  readonly after: QueueModel.QueueModel
  readonly naive: NaiveQueue
}

const start = Date.UTC(2026, 1, 7, 10, 30)

/** Runs both queues, and passes every step to the callback. */
const run = (commands: ReadonlyArray<Command>, onStep: (step: Step) => void): QueueModel.QueueModel => {
  const modeled = new Modeled()
  const naive = new NaiveQueue()
  const refs: Array<Job.JobRef> = []
  const claims: Array<{ readonly ref: Job.JobRef; readonly attempt: number }> = []
  let clock = start

  const resolve = ({ as, job }: Which): Job.JobRef => {
    const ref = refs[job % refs.length]
    return ref === undefined || as === "unknown"
      ? { model: models[job % models.length]!, requestId: "unknown" }
      : as === "known"
      ? ref
      : { model: models[(models.indexOf(ref.model) + 1) % models.length]!, requestId: ref.requestId }
  }

  const callOf = (command: Command): Call | undefined => {
    const now = clock
    switch (command.command) {
      case "submit": {
        const ref = Job.ref(command.model, `job-${refs.length}`)
        const payload = Object.freeze({ prompt: refs.length })
        refs.push(ref)
        return (queue) => queue.submit(now, { ref, payload, info: command.info, priority: command.priority })
      }
      case "claim":
        return (queue) => queue.claim(now, command.model, command.timeout)
      case "report": {
        const worker = claims[claims.length - 1 - command.claimsAgo]
        return worker && ((queue) => queue.update(now, { ...worker, ...command.said }))
      }
      case "update": {
        const ref = resolve(command.which)
        return (queue) => queue.update(now, { ref, attempt: command.attempt, ...command.said })
      }
      case "cancel": {
        const ref = resolve(command.which)
        return (queue) => queue.cancel(now, ref)
      }
      case "clear":
        return (queue) => queue.clear(now, command.model)
      case "metrics":
        return (queue) => queue.metrics(now, command.model)
      case "status": {
        const ref = resolve(command.which)
        return (queue) => queue.status(now, ref)
      }
      case "advance":
        return (queue) => queue.advance(now)
      case "wait":
        clock += command.millis
        return undefined
      case "wait for an expiry":
        clock = (naive.nextExpiry() ?? clock) + command.offset
        return undefined
    }
  }

  for (const command of commands) {
    const call = callOf(command)
    if (call === undefined) continue
    const before = modeled.queue
    const actual = call(modeled)
    const expected = call(naive)
    if (command.command === "claim" && expected !== null) {
      // a claim returns the job, which has the number of the attempt
      const { model, requestId, retries } = expected as JobView
      claims.push({ ref: { model, requestId }, attempt: retries + 1 })
    }
    onStep({ command, call, actual, expected, before, after: modeled.queue, naive })
  }
  return modeled.queue
}

// -----------------------------------------------------------------------------
// against the naive queue
// -----------------------------------------------------------------------------

describe("queueModel, against a naive restatement of the rules", () => {
  it("returns the same and has the same state after every command", () => {
    const seen = new Map<string, number>()
    const tally = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
    FastCheck.assert(
      FastCheck.property(commands, (commands) => {
        const end = run(commands, ({ actual, after, command, expected, naive }) => {
          same(actual, expected, "the answers")
          same(viewOfModel(after), viewOfNaive(naive), "what is seen")
          tally(command.command === "claim" ? `claim: ${expected !== null}` : `${command.command}: ${expected}`)
        })
        for (const job of HashMap.values(end.jobs)) job.history.forEach((event) => tally(event._tag))
      }),
      { numRuns: runs(150, 600) }
    )
    // checks that the commands above cover all results
    const steps: ReadonlyArray<StepName> = [
      "Queued",
      "Claimed",
      "Requeued",
      "Completed",
      "FailedByModel",
      "RetriesExhausted",
      "Canceled"
    ]
    const answers = [
      "claim: true",
      "claim: false",
      "report: true",
      "report: false",
      "update: true",
      "update: false",
      "cancel: null",
      "cancel: pending",
      "cancel: running",
      "cancel: done",
      "cancel: failed",
      "cancel: canceled",
      "clear: 0",
      "clear: 1",
      "clear: 2"
    ]
    for (const what of [...steps, ...answers]) assert.isTrue(seen.has(what), what)
  })

  it("serves a long queue in the same order", () => {
    const model = models[0]!
    const call = FastCheck.oneof(
      { weight: 5, arbitrary: FastCheck.integer({ min: -3, max: 3 }).map((priority) => ({ priority })) },
      { weight: 2, arbitrary: FastCheck.integer({ min: 1, max: 400 }).map((timeout) => ({ timeout })) },
      { weight: 2, arbitrary: FastCheck.nat({ max: 500 }).map((cancel) => ({ cancel })) }
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(call, { minLength: 300, maxLength: 500 }), (calls) => {
        const modeled = new Modeled()
        const naive = new NaiveQueue()
        calls.forEach((call, now) => {
          const perform: Call = (queue) =>
            "priority" in call
              ? queue.submit(now, { ref: { model, requestId: `job-${now}` }, payload: {}, info: {}, ...call })
              : "timeout" in call
              ? queue.claim(now, model, call.timeout)
              : queue.cancel(now, { model, requestId: `job-${call.cancel % (now + 1)}` })
          same(perform(modeled), perform(naive))
          same(modeled.metrics(now, model), naive.metrics(now, model))
        })
        same(viewOfModel(modeled.queue), viewOfNaive(naive))
        same(drain(modeled.queue, model), naive.line(model).map((job) => job.ref.requestId))
      }),
      { numRuns: 20 }
    )
  })
})

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const video = models[0]!

const refOf = (requestId: string, model: string = video): Job.JobRef => ({ model, requestId })

const submit = (
  queue: QueueModel.QueueModel,
  now: number,
  requestId: string,
  options?: { readonly model?: string; readonly priority?: number; readonly info?: Job.JsonObject }
): QueueModel.QueueModel =>
  QueueModel.submit(queue, now, {
    ref: refOf(requestId, options?.model),
    payload: {},
    info: options?.info ?? {},
    priority: options?.priority ?? 0
  })

const claim = (queue: QueueModel.QueueModel, now: number, timeout: number, model = video): QueueModel.QueueModel =>
  QueueModel.claim(queue, now, { model, timeout })[0]

const update = (queue: QueueModel.QueueModel, now: number, request: QueueModel.Update): QueueModel.QueueModel =>
  QueueModel.update(queue, now, request)[0]

const jobOf = (queue: QueueModel.QueueModel, requestId: string, model?: string): QueueModel.QueuedJob =>
  Option.getOrThrow(QueueModel.get(queue, refOf(requestId, model)))

const stepsOf = (queue: QueueModel.QueueModel, requestId: string, model?: string): ReadonlyArray<string> =>
  jobOf(queue, requestId, model).history.map(({ _tag, at, attempt }) => `${_tag} ${attempt} at ${at}`)

const priorities = FastCheck.array(FastCheck.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 40, size: "max" })

const lineUp = (priorities: ReadonlyArray<number>): QueueModel.QueueModel =>
  priorities.reduce((queue, priority, i) => submit(queue, i, String(i), { priority }), QueueModel.empty)

describe("queueModel, the queue order", () => {
  it("is by priority, the highest first, then by submission", () => {
    assert.deepStrictEqual(drain(lineUp([0, 1, 0, -1, 1]), video), ["1", "4", "0", "2", "3"])
    FastCheck.assert(
      FastCheck.property(priorities, (priorities) => {
        const order = drain(lineUp(priorities), video).map(Number)
        assert.strictEqual(new Set(order).size, priorities.length)
        for (let i = 1; i < order.length; i++) {
          const [a, b] = [order[i - 1]!, order[i]!]
          assert.isTrue(
            priorities[a]! > priorities[b]! || (priorities[a] === priorities[b] && a < b),
            `${a} before ${b}`
          )
        }
      })
    )
  })

  it("is separate for each model", () => {
    const queue = submit(submit(QueueModel.empty, 0, "a"), 1, "b", { model: "other", priority: 9 })
    assert.deepStrictEqual(drain(queue, video), ["a"])
    assert.deepStrictEqual(drain(queue, "other"), ["b"])
    assert.deepStrictEqual(drain(queue, "never seen"), [])
  })

  it("keeps the place of a requeued job", () => {
    // a is lost after b was claimed and c submitted, and still precedes c and the less urgent d
    let queue = ["a", "b"].reduce((queue, id) => submit(queue, 0, id), QueueModel.empty)
    queue = claim(claim(queue, 1, 10), 1, 1000)
    queue = submit(submit(submit(queue, 2, "c"), 2, "d", { priority: -1 }), 2, "urgent", { priority: 1 })
    assert.deepStrictEqual(drain(queue, video), ["urgent", "c", "d"])
    assert.deepStrictEqual(drain(QueueModel.advance(queue, 11), video), ["urgent", "a", "c", "d"])
  })

  it("is restored once all claims are lost, in any order", () => {
    FastCheck.assert(
      FastCheck.property(
        priorities,
        FastCheck.array(FastCheck.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 40, size: "max" }),
        (priorities, timeouts) => {
          const before = lineUp(priorities)
          const claimed = timeouts.reduce((queue, timeout) => claim(queue, before.now, timeout), before)
          const after = QueueModel.advance(claimed, before.now + 9)
          assert.deepStrictEqual(drain(after, video), drain(before, video))
          assert.isTrue(Option.isNone(QueueModel.nextExpiry(after)))
        }
      )
    )
  })
})

describe("queueModel, claims", () => {
  const claimed = claim(submit(QueueModel.empty, 0, "a"), 5, 10)

  it("expire exactly at their timeout, not before", () => {
    assertSome(QueueModel.nextExpiry(claimed), 15)
    assert.strictEqual(jobOf(QueueModel.advance(claimed, 14), "a").state, "running")
    for (const now of [15, 16, 1_000_000]) {
      const lost = QueueModel.advance(claimed, now)
      assert.strictEqual(jobOf(lost, "a").state, "pending")
      assert.strictEqual(jobOf(lost, "a").retries, 1)
      assert.deepStrictEqual(stepsOf(lost, "a"), ["Queued 0 at 0", "Claimed 1 at 5", "Requeued 1 at 15"])
      assert.strictEqual(lost.now, now)
    }
  })

  it("are extended by a heartbeat, unless the claim has expired", () => {
    const beat = { ref: refOf("a"), attempt: 1, status: "running" } as const
    const [extended, heard] = QueueModel.update(claimed, 14, beat)
    assert.isTrue(heard)
    assertSome(QueueModel.nextExpiry(extended), 24)
    assert.strictEqual(jobOf(QueueModel.advance(extended, 23), "a").state, "running")
    assert.strictEqual(jobOf(QueueModel.advance(extended, 24), "a").state, "pending")

    const [lost, late] = QueueModel.update(claimed, 15, beat)
    assert.isFalse(late)
    assert.strictEqual(jobOf(lost, "a").state, "pending")
  })

  it("are kept by heartbeats as long as these continue, for any step size", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.integer({ min: 0, max: 9 })), (silences) => {
        let queue = claimed
        for (const silence of silences) {
          queue = update(queue, queue.now + silence, { ref: refOf("a"), attempt: 1, status: "running" })
        }
        assert.strictEqual(jobOf(queue, "a").state, "running")
        assertSome(QueueModel.nextExpiry(queue), queue.now + 10)
        assert.deepStrictEqual(stepsOf(queue, "a"), ["Queued 0 at 0", "Claimed 1 at 5"])
      })
    )
  })

  it("are at most four; the job fails when the last one expires", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.record({ after: FastCheck.nat({ max: 50 }), timeout: aTimeout }), {
          minLength: 4,
          maxLength: 4
        }),
        FastCheck.nat({ max: 2 * week }),
        (claims, late) => {
          let queue = submit(QueueModel.empty, 0, "a")
          let now = 0
          claims.forEach(({ after, timeout }, retries) => {
            now += after
            queue = claim(queue, now, timeout)
            now += timeout
            assert.strictEqual(jobOf(queue, "a").state, "running")
            assert.strictEqual(jobOf(queue, "a").retries, retries)
          })
          queue = QueueModel.advance(queue, now + late)
          const job = jobOf(queue, "a")
          assert.strictEqual(job.state, "failed")
          assert.strictEqual(job.retries, 3)
          assert.strictEqual(job.doneAt, now)
          assert.strictEqual(job.history.filter((event) => event._tag === "Claimed").length, 4)
          assert.deepStrictEqual(job.history.at(-1), { _tag: "RetriesExhausted", attempt: 4, at: now })
          assert.deepStrictEqual(drain(queue, video), [])
        }
      )
    )
  })

  it("that end in time cause no retry, and neither does a failure by the model", () => {
    const [done] = QueueModel.update(claimed, 14, { ref: refOf("a"), status: "done", outputs: { url: "https://x" } })
    assert.strictEqual(jobOf(done, "a").state, "done")
    assert.deepStrictEqual(jobOf(done, "a").outputs, { url: "https://x" })
    const [failed] = QueueModel.update(claimed, 14, { ref: refOf("a"), status: "failed", info: { error: "boom" } })
    const job = jobOf(QueueModel.advance(failed, 1_000_000), "a")
    assert.strictEqual(job.state, "failed")
    assert.strictEqual(job.retries, 0)
    assert.strictEqual(job.doneAt, 14)
    assert.deepStrictEqual(job.info, { error: "boom" })
    assert.deepStrictEqual(drain(failed, video), [])
  })

  it("that were lost allow no further reports on the job", () => {
    const again = claim(claimed, 15, 10)
    assert.deepStrictEqual(viewOf(jobOf(again, "a")).retries, 1)
    for (const status of ["running", "done", "failed"] as const) {
      for (const queue of [QueueModel.advance(claimed, 15), again]) {
        const late = { ref: refOf("a"), attempt: 1, status, info: { late: true }, outputs: { late: true } }
        const [after, heard] = QueueModel.update(queue, 16, late)
        assert.isFalse(heard)
        same(viewOfModel(after), viewOfModel(QueueModel.advance(queue, 16)))
      }
    }
    // the wire has no field for the attempt: a report without one applies to the current claim
    const [done, heard] = QueueModel.update(again, 16, { ref: refOf("a"), status: "done" })
    assert.isTrue(heard)
    assert.strictEqual(jobOf(done, "a").state, "done")
  })

  it("with a timeout of zero expire at once, even if the clock is set back", () => {
    const queue = claim(submit(QueueModel.empty, 10, "a"), 10, 0)
    for (const now of [10, 9]) {
      const [after, heard] = QueueModel.update(queue, now, { ref: refOf("a"), attempt: 1, status: "done" })
      assert.isFalse(heard, `at ${now}`)
      assert.deepStrictEqual(stepsOf(after, "a"), ["Queued 0 at 10", "Claimed 1 at 10", "Requeued 1 at 10"])
    }
  })
})

describe("queueModel, info", () => {
  it("is merged, and is kept across retries; outputs are set at the end only", () => {
    let queue = submit(QueueModel.empty, 0, "a", { info: { user: "u", progress: 0 } })
    const say = (info: Job.JsonObject) => {
      queue = update(queue, queue.now, { ref: refOf("a"), status: "running", info, outputs: { early: true } })
    }
    queue = claim(queue, 1, 10)
    say({ progress: 0.5, gpu: "x" })
    assert.deepStrictEqual(jobOf(queue, "a").info, { user: "u", progress: 0.5, gpu: "x" })
    assert.deepStrictEqual(jobOf(queue, "a").outputs, {})
    queue = QueueModel.advance(queue, 11)
    assert.deepStrictEqual(jobOf(queue, "a").info, { user: "u", progress: 0.5, gpu: "x" })
    queue = claim(queue, 12, 10)
    say({ progress: 0.1 })
    queue = update(queue, 13, { ref: refOf("a"), status: "done", info: { progress: 1 }, outputs: { n: 1 } })
    assert.deepStrictEqual(jobOf(queue, "a").info, { user: "u", progress: 1, gpu: "x" })
    assert.deepStrictEqual(jobOf(queue, "a").outputs, { n: 1 })
  })
})

describe("queueModel, cancel and clear", () => {
  it("affect pending jobs only", () => {
    // one job in each state, and one of another model
    let queue = QueueModel.empty
    for (const id of ["done", "failed", "running", "canceled", "pending", "next"]) queue = submit(queue, 0, id)
    for (let i = 0; i < 3; i++) queue = claim(queue, 1, 1000)
    queue = update(queue, 2, { ref: refOf("done"), status: "done" })
    queue = update(queue, 2, { ref: refOf("failed"), status: "failed" })
    queue = QueueModel.cancel(queue, 2, refOf("canceled"))[0]
    queue = submit(queue, 2, "elsewhere", { model: "other" })

    for (const id of ["done", "failed", "running", "canceled"] as const) {
      const [after, state] = QueueModel.cancel(queue, 3, refOf(id))
      assertSome(state, id)
      same(viewOfModel(after), viewOfModel(QueueModel.advance(queue, 3)))
    }
    const [canceled, state] = QueueModel.cancel(queue, 3, refOf("pending"))
    assertSome(state, "pending")
    assert.strictEqual(jobOf(canceled, "pending").state, "canceled")
    assert.strictEqual(jobOf(canceled, "pending").doneAt, undefined)
    assert.deepStrictEqual(drain(canceled, video), ["next"])

    const [cleared, count] = QueueModel.clear(queue, 3, video)
    assert.strictEqual(count, 2)
    same(viewOfModel(cleared), viewOfModel(QueueModel.cancel(canceled, 3, refOf("next"))[0]))
    assert.strictEqual(jobOf(cleared, "elsewhere", "other").state, "pending")
    assert.strictEqual(QueueModel.clear(cleared, 3, video)[1], 0)
  })

  it("do not find a job under another model's name", () => {
    const queue = submit(submit(QueueModel.empty, 0, "a"), 0, "b", { model: "other" })
    for (const ref of [refOf("a", "other"), refOf("b"), refOf("c"), refOf("a", "never seen")]) {
      assert.isTrue(Option.isNone(QueueModel.get(queue, ref)))
      const [after, state] = QueueModel.cancel(queue, 0, ref)
      assert.isTrue(Option.isNone(state))
      same(viewOfModel(after), viewOfModel(queue))
    }
  })
})

describe("queueModel, histories", () => {
  // the state machine of a job: state, event with its attempt, next state
  const paths: { readonly [place: string]: { readonly [step: string]: string } } = {
    "nowhere": { "Queued 0": "pending" },
    "pending": { "Claimed 1": "running", "Canceled 0": "canceled" },
    "running": { "Completed 1": "done", "FailedByModel 1": "failed", "Requeued 1": "pending again" },
    "pending again": { "Claimed 2": "running again", "Canceled 1": "canceled" },
    "running again": { "Completed 2": "done", "FailedByModel 2": "failed", "Requeued 2": "pending a third time" },
    "pending a third time": { "Claimed 3": "running a third time", "Canceled 2": "canceled" },
    "running a third time": { "Completed 3": "done", "FailedByModel 3": "failed", "Requeued 3": "pending at last" },
    "pending at last": { "Claimed 4": "running at last", "Canceled 3": "canceled" },
    "running at last": { "Completed 4": "done", "FailedByModel 4": "failed", "RetriesExhausted 4": "failed" },
    "done": {},
    "failed": {},
    "canceled": {}
  }

  const walk = (history: ReadonlyArray<QueueModel.Event>): string =>
    history.reduce((place, { _tag, attempt }) => {
      const next = paths[place]?.[`${_tag} ${attempt}`]
      if (next === undefined) assert.fail(`${_tag} ${attempt} while ${place}`)
      return next
    }, "nowhere")

  it("are legal paths in order of time, and lead to the state of the job", () => {
    FastCheck.assert(
      FastCheck.property(commands, (commands) => {
        const queue = run(commands, () => {})
        for (const job of HashMap.values(queue.jobs)) {
          assert.strictEqual(walk(job.history).split(" ")[0], job.state)
          assert.isAtMost(job.retries, 3)
          assert.strictEqual(job.retries, job.history.filter((event) => event._tag === "Requeued").length)
          const times = job.history.map((event) => event.at)
          assert.deepStrictEqual(times, [...times].sort((a, b) => a - b))
          assert.isAtMost(times.at(-1)!, queue.now)
        }
      }),
      { numRuns: runs(100, 200) }
    )
  })

  it("only grow, and stop when the job ends", () => {
    FastCheck.assert(
      FastCheck.property(commands, (commands) => {
        run(commands, ({ after, before }) => {
          for (const old of HashMap.values(before.jobs)) {
            const job = HashMap.unsafeGet(after.jobs, old.ref.requestId)
            same(job.history.slice(0, old.history.length), old.history)
            if (old.state !== "pending" && old.state !== "running") same(viewOf(job), viewOf(old), "terminal is final")
          }
        })
      }),
      { numRuns: runs(100, 200) }
    )
  })
})

describe("queueModel, metrics", () => {
  it("are the counts of the states", () => {
    assert.deepStrictEqual(QueueModel.metrics(QueueModel.empty, "never seen"), { running: 0, waiting: 0, total: 0 })
    FastCheck.assert(
      FastCheck.property(commands, (commands) => {
        run(commands, ({ after }) => {
          for (const model of models) {
            const jobs = Array.from(HashMap.values(after.jobs)).filter((job) => job.ref.model === model)
            const waiting = jobs.filter((job) => job.state === "pending").length
            const running = jobs.filter((job) => job.state === "running").length
            assert.deepStrictEqual(QueueModel.metrics(after, model), { running, waiting, total: running + waiting })
          }
        })
      }),
      { numRuns: runs(100, 200) }
    )
  })
})

describe("queueModel, names that are special elsewhere", () => {
  const special = ["__proto__", "constructor", "toString", "hasOwnProperty"]

  it("are ordinary names of models and of jobs", () => {
    for (const model of special) {
      assert.deepStrictEqual(QueueModel.metrics(QueueModel.empty, model), { running: 0, waiting: 0, total: 0 })
      assert.deepStrictEqual(drain(QueueModel.empty, model), [])
      assert.isTrue(Option.isNone(QueueModel.get(QueueModel.empty, refOf(model, model))))
    }
    const queue = special.reduce((queue, name) => submit(queue, 0, name, { model: name }), QueueModel.empty)
    for (const name of special) {
      assert.deepStrictEqual(QueueModel.metrics(queue, name), { running: 0, waiting: 1, total: 1 })
      assert.deepStrictEqual(drain(queue, name), [name])
      assert.strictEqual(jobOf(queue, name, name).state, "pending")
      assert.strictEqual(QueueModel.clear(queue, 1, name)[1], 1)
    }
  })

  it("are ordinary keys of info, and change no prototype", () => {
    const info = (text: string): Job.JsonObject => JSON.parse(text)
    let queue = submit(QueueModel.empty, 0, "a", { info: info(`{"__proto__":{"polluted":1},"kept":true}`) })
    queue = claim(queue, 1, 10)
    queue = update(queue, 2, { ref: refOf("a"), status: "running", info: info(`{"constructor":1}`) })
    queue = update(queue, 3, {
      ref: refOf("a"),
      status: "done",
      info: info(`{"__proto__":{"polluted":2}}`),
      outputs: info(`{"__proto__":{"polluted":3}}`)
    })
    const status = snapshot(jobOf(queue, "a"))
    assert.strictEqual(JSON.stringify(status.info), `{"__proto__":{"polluted":2},"kept":true,"constructor":1}`)
    assert.strictEqual(JSON.stringify(status.outputs), `{"__proto__":{"polluted":3}}`)
    for (const object of [status.info, status.outputs, {}]) {
      assert.strictEqual(Object.getPrototypeOf(object), Object.prototype)
      assert.isUndefined((object as Job.JsonObject)["polluted"])
    }
  })
})

describe("queueModel, with a retention", () => {
  type Step = (queue: QueueModel.QueueModel, now: number) => QueueModel.QueueModel

  const jobOf = (n: number) => ({ model: `model ${n % 2}`, requestId: `job ${n}` })

  const step: FastCheck.Arbitrary<readonly [wait: number, step: Step]> = FastCheck.tuple(
    FastCheck.nat({ max: 400 }),
    FastCheck.oneof(
      FastCheck.constant<Step>((queue, now) =>
        QueueModel.submit(queue, now, { ref: jobOf(queue.submitted), payload: {}, info: {}, priority: 0 })
      ),
      FastCheck.tuple(FastCheck.nat({ max: 1 }), FastCheck.integer({ min: 1, max: 300 })).map(
        ([n, timeout]): Step => (queue, now) => QueueModel.claim(queue, now, { model: `model ${n}`, timeout })[0]
      ),
      FastCheck.tuple(
        FastCheck.nat({ max: 9 }),
        FastCheck.constantFrom("running" as const, "done" as const, "failed" as const)
      ).map(
        ([n, status]): Step => (queue, now) => QueueModel.update(queue, now, { ref: jobOf(n), status })[0]
      ),
      FastCheck.nat({ max: 9 }).map((n): Step => (queue, now) => QueueModel.cancel(queue, now, jobOf(n))[0]),
      FastCheck.nat({ max: 1 }).map((n): Step => (queue, now) => QueueModel.clear(queue, now, `model ${n}`)[0])
    )
  )

  const endOf = ({ history }: QueueModel.QueuedJob): number | undefined => {
    const { _tag, at } = history.at(-1)!
    return _tag === "Queued" || _tag === "Claimed" || _tag === "Requeued" ? undefined : at
  }

  it("removes a job exactly at its retention after the end, and otherwise behaves as without a retention", () => {
    let forgotten = 0
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(step, { maxLength: 60, size: "max" }),
        FastCheck.integer({ min: 1, max: 900 }),
        (steps, retention) => {
          let [all, some] = [QueueModel.empty, { ...QueueModel.empty, retention }]
          let now = 0
          for (const [wait, step] of steps) {
            now += wait
            all = step(all, now)
            some = step(some, now)
            const kept = Array.from(HashMap.values(all.jobs)).filter((job) => {
              const end = endOf(job)
              return end === undefined || end + retention > now
            })
            forgotten += HashMap.size(all.jobs) - kept.length
            assert.sameMembers(Array.from(HashMap.keys(some.jobs)), kept.map(({ ref }) => ref.requestId))
            for (const job of kept) assert.deepStrictEqual(HashMap.unsafeGet(some.jobs, job.ref.requestId), job)
            for (const model of ["model 0", "model 1"]) {
              assert.deepStrictEqual(QueueModel.metrics(some, model), QueueModel.metrics(all, model))
            }
          }
        }
      )
    )
    assert.isAbove(forgotten, 100)
  })

  it("keeps no state of removed jobs, nor of models without a job", () => {
    let queue: QueueModel.QueueModel = { ...QueueModel.empty, retention: 10 }
    for (let i = 0; i < 1_000; i++) {
      const ref = { model: `model ${i}`, requestId: `job ${i}` }
      queue = QueueModel.submit(queue, i, { ref, payload: {}, info: {}, priority: 0 })
      if (i % 2 === 0) queue = QueueModel.cancel(queue, i, ref)[0]
      else {
        queue = QueueModel.claim(queue, i, { model: ref.model, timeout: 5 })[0]
        queue = QueueModel.update(queue, i, { ref, status: "done" })[0]
      }
    }
    assert.isAtMost(HashMap.size(queue.jobs), 11)
    queue = QueueModel.advance(queue, 2_000)
    for (const map of [queue.jobs, queue.models]) {
      assert.strictEqual(HashMap.size<unknown, unknown>(map), 0)
    }
    assert.deepStrictEqual([RedBlackTree.size(queue.claims), RedBlackTree.size(queue.removals)], [0, 0])
  })
})

describe("queueModel, time", () => {
  it("in one step equals time in many small steps", () => {
    FastCheck.assert(
      FastCheck.property(
        commands,
        FastCheck.array(FastCheck.nat({ max: 300 }), { maxLength: 30, size: "max" }),
        FastCheck.boolean(),
        (commands, waits, far) => {
          const queue = run(commands, () => {})
          const times = waits.reduce((times, wait) => [...times, times.at(-1)! + wait], [queue.now])
          const end = times.at(-1)! + (far ? 100 * week : 0)
          const steps = QueueModel.advance(times.reduce(QueueModel.advance, queue), end)
          const leap = QueueModel.advance(queue, end)
          same(viewOfModel(steps), viewOfModel(leap))
          same(drainAll(steps), drainAll(leap))
        }
      ),
      { numRuns: runs(100, 200) }
    )
  })

  it("never goes back", () => {
    FastCheck.assert(
      FastCheck.property(commands, FastCheck.nat(), (commands, back) => {
        const queue = run(commands, ({ after, before }) => assert.isAtLeast(after.now, before.now))
        same(viewOfModel(QueueModel.advance(queue, queue.now - back)), viewOfModel(queue))
      }),
      { numRuns: 200 }
    )
    const queue = claim(submit(QueueModel.advance(QueueModel.empty, 100), 50, "a"), 60, 10)
    assert.deepStrictEqual(stepsOf(queue, "a"), ["Queued 0 at 100", "Claimed 1 at 100"])
    assertSome(QueueModel.nextExpiry(queue), 110)
  })

  it("has its next expiry at the claim that expires first", () => {
    let queue = lineUp([0, 0, 0])
    for (const timeout of [30, 10, 20]) queue = claim(queue, 100, timeout)
    for (const expiry of [110, 120, 130]) {
      assertSome(QueueModel.nextExpiry(queue), expiry)
      queue = QueueModel.advance(queue, expiry)
    }
    assert.isTrue(Option.isNone(QueueModel.nextExpiry(queue)))
    assert.deepStrictEqual(QueueModel.expiring(queue, Infinity), [])
  })
})

describe("queueModel, as a value", () => {
  it("is immutable: old versions keep their state and their results", () => {
    FastCheck.assert(
      FastCheck.property(commands, (commands) => {
        const text = (queue: QueueModel.QueueModel) => JSON.stringify([viewOfModel(queue), drainAll(queue)])
        const past: Array<{ readonly step: Step; readonly shown: string; readonly answered: string | undefined }> = []
        run(commands, (step) => {
          past.push({ step, shown: text(step.after), answered: JSON.stringify(step.actual) })
        })
        for (const { answered, shown, step } of past) {
          assert.strictEqual(text(step.after), shown)
          const again = new Modeled(step.before)
          assert.strictEqual(JSON.stringify(step.call(again)), answered)
          assert.strictEqual(text(again.queue), shown)
        }
        same(viewOfModel(QueueModel.empty), viewOfModel(new Modeled().queue))
        assert.isTrue(HashMap.isEmpty(QueueModel.empty.jobs))
      }),
      { numRuns: 100 }
    )
  })
})
