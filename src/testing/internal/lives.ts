/**
 * Made-up lives of a job: whatever a job can go through, as the queue model has it.
 *
 * @internal
 */
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import { ref } from "../../model/Job.js"
import type { JobRef, JsonObject } from "../../model/Job.js"
import * as Queue from "./queueModel.js"

/**
 * With the text that fast-check shows for it.
 *
 * @internal
 */
export const printed = <A extends object>(value: A, text: () => string): A =>
  Object.defineProperty(value, FastCheck.toStringMethod, { value: text, enumerable: false })

// -----------------------------------------------------------------------------
// JSON
// -----------------------------------------------------------------------------

const scalar = FastCheck.constantFrom<Array<unknown>>(
  null,
  true,
  false,
  0,
  1,
  -1.5,
  1e300,
  "",
  "a",
  "größe 🦊",
  "\ud800"
)

// `Object.fromEntries` makes `__proto__` a key of its own, as `JSON.parse` does.
const nested: FastCheck.Arbitrary<unknown> = FastCheck.oneof(
  scalar,
  FastCheck.array(scalar, { maxLength: 3 }),
  FastCheck.array(
    FastCheck.tuple(
      FastCheck.constantFrom("a", "b", "__proto__", "constructor"),
      FastCheck.oneof(scalar, FastCheck.array(scalar, { maxLength: 2 }), FastCheck.constant({ a: { b: 1 }, c: [{}] }))
    ),
    { maxLength: 3 }
  ).map((entries) => Object.fromEntries(entries))
)

const progress = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constantFrom(0, 0.25, 0.5, 0.75, 1) },
  { weight: 2, arbitrary: FastCheck.integer({ min: 0, max: 100 }) },
  { weight: 1, arbitrary: FastCheck.constantFrom<Array<unknown>>("soon", null, -1, 101, { at: 1 }) }
)

const reason = FastCheck.constantFrom<Array<unknown>>("out of memory", " ", null, { message: "out of memory" }, {
  code: 1
})

/** More entries than a cursor remembers one by one. */
const many = (count: number, salt: unknown): ReadonlyArray<readonly [string, unknown]> =>
  Array.from({ length: count }, (_, i) => [`key-${i}`, i % 10 === 0 ? salt : i] as const)

const entries: FastCheck.Arbitrary<ReadonlyArray<readonly [string, unknown]>> = FastCheck.array(
  FastCheck.oneof(
    { weight: 4, arbitrary: FastCheck.tuple(FastCheck.constant("progress"), progress) },
    { weight: 1, arbitrary: FastCheck.tuple(FastCheck.constant("error"), reason) },
    {
      weight: 4,
      arbitrary: FastCheck.tuple(FastCheck.constantFrom("step", "note", "7", "__proto__", "constructor"), nested)
    }
  ),
  { maxLength: 4 }
)

/**
 * What is told in one go: what a submitter puts into `info`, or what a worker adds to it.
 *
 * @internal
 */
export const info: FastCheck.Arbitrary<JsonObject> = FastCheck.oneof(
  { weight: 16, arbitrary: entries },
  { weight: 1, arbitrary: FastCheck.tuple(FastCheck.integer({ min: 29, max: 40 }), scalar).map(([n, v]) => many(n, v)) }
).map((entries) => Object.fromEntries(entries))

/** @internal */
export const outputs: FastCheck.Arbitrary<JsonObject> = FastCheck.oneof(
  FastCheck.constant({}),
  FastCheck.array(
    FastCheck.oneof(
      FastCheck.tuple(FastCheck.constant("error"), reason),
      FastCheck.tuple(FastCheck.constantFrom("video_url", "__proto__"), nested)
    ),
    { maxLength: 2 }
  ).map((entries) => Object.fromEntries(entries))
)

// -----------------------------------------------------------------------------
// lives
// -----------------------------------------------------------------------------

/**
 * A job that was looked at after every event and whenever time had passed: what it was then, and at last.
 *
 * @internal
 */
export interface Life {
  readonly looks: ReadonlyArray<{ readonly at: number; readonly job: Queue.QueuedJob }>
  readonly end: Queue.QueuedJob
}

/** A claim of the job, and what its worker does till it is lost or ends the job. */
interface Round {
  /** Before the job is claimed: other jobs are submitted and claimed, time passes. */
  readonly rivals: ReadonlyArray<{ readonly priority: number; readonly claim: boolean; readonly timeout: number }>
  readonly wait: number
  readonly timeout: number
  /** Signs of life, from this worker or (too late) from the one before it. Too long a pause, and the claim is lost. */
  readonly beats: ReadonlyArray<{
    readonly after: number
    readonly ofEarlier: boolean
    readonly info: JsonObject | undefined
  }>
  readonly rest: number
}

interface Plan {
  readonly job: JobRef
  readonly start: number
  readonly info: JsonObject
  readonly priority: number
  /** Whose workers are lost. */
  readonly lost: ReadonlyArray<Round>
  readonly last: Round
  readonly end: "in the queue" | "running" | "canceled" | "done" | "failed"
  readonly endInfo: JsonObject | undefined
  readonly outputs: JsonObject | undefined
}

/**
 * A time in milliseconds, of no great length.
 *
 * @internal
 */
export const span = FastCheck.oneof(FastCheck.constantFrom(0, 1), FastCheck.nat({ max: 5_000 }))

const round: FastCheck.Arbitrary<Round> = FastCheck.record({
  rivals: FastCheck.array(
    FastCheck.record({
      priority: FastCheck.integer({ min: -1, max: 1 }),
      claim: FastCheck.boolean(),
      timeout: FastCheck.integer({ min: 1, max: 3_000 })
    }),
    { maxLength: 2 }
  ),
  wait: span,
  timeout: FastCheck.oneof(FastCheck.constantFrom(1, 5_000), FastCheck.integer({ min: 1, max: 20_000 })),
  beats: FastCheck.array(
    FastCheck.record({
      after: span,
      ofEarlier: FastCheck.nat({ max: 9 }).map((n) => n === 0),
      info: FastCheck.option(info, { nil: undefined, freq: 4 })
    }),
    { maxLength: 3 }
  ),
  rest: span
})

/** @internal */
export const jobs = [
  ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7"),
  ref("größe/模型 🦊?&=%2F", "__proto__")
]

const plan: FastCheck.Arbitrary<Plan> = FastCheck.record({
  job: FastCheck.constantFrom(...jobs),
  start: FastCheck.constantFrom(Date.UTC(2026, 1, 7, 10, 30), Date.UTC(1969, 11, 31, 23, 59, 59), 0),
  info,
  priority: FastCheck.integer({ min: -1, max: 1 }),
  lost: FastCheck.nat({ max: 4 }).chain((n) => FastCheck.array(round, { minLength: n, maxLength: n })),
  last: round,
  end: FastCheck.constantFrom("in the queue", "running", "canceled", "done", "failed", "failed"),
  endInfo: FastCheck.option(info, { nil: undefined, freq: 2 }),
  outputs: FastCheck.option(outputs, { nil: undefined, freq: 2 })
})

const live = (plan: Plan): Life => {
  const { job } = plan
  let queue = Queue.recording
  let rivals = 0
  const looks: Array<Life["looks"][number]> = []

  const current = () => Option.getOrThrow(Queue.get(queue, job))
  const look = () => {
    looks.push({ at: queue.now, job: current() })
  }
  // from one claim that runs out to the next, so that no state goes by unseen
  const advance = (to: number) => {
    for (;;) {
      const next = Queue.nextExpiry(queue)
      if (Option.isNone(next) || next.value > to) break
      queue = Queue.advance(queue, next.value)
      look()
    }
    queue = Queue.advance(queue, to)
    look()
  }
  const wait = (millis: number) => advance(queue.now + millis)
  const claimHead = (timeout: number) => {
    queue = Queue.claim(queue, queue.now, { model: job.model, timeout })[0]
    look()
  }
  const update = (update: Omit<Queue.Update, "ref">) => {
    queue = Queue.update(queue, queue.now, { ref: job, ...update })[0]
    look()
  }
  const claim = (round: Round) => {
    for (const rival of round.rivals) {
      const other = ref(job.model, `rival-${rivals++}`)
      queue = Queue.submit(queue, queue.now, { ref: other, payload: {}, info: {}, priority: rival.priority })
      look()
      if (rival.claim) claimHead(rival.timeout)
    }
    wait(round.wait)
    // whoever is before it in the line goes first
    while (current().state === "pending") claimHead(round.timeout)
    const attempt = current().retries + 1
    for (const beat of round.beats) {
      wait(beat.after)
      update({ attempt: beat.ofEarlier ? attempt - 1 : attempt, status: "running", info: beat.info })
    }
    return attempt
  }
  const lose = () => {
    while (current().state === "running") advance(Option.getOrThrow(Queue.nextExpiry(queue)))
  }

  queue = Queue.submit(queue, plan.start, {
    ref: job,
    payload: { prompt: "a cat at the piano" },
    info: plan.info,
    priority: plan.priority
  })
  look()
  for (const round of plan.lost) {
    if (current().state !== "pending") break
    claim(round)
    lose()
    wait(round.rest)
  }
  if (current().state === "pending" && plan.end !== "in the queue") {
    if (plan.end === "canceled") {
      queue = Queue.cancel(queue, queue.now, job)[0]
      look()
    } else {
      const attempt = claim(plan.last)
      if (plan.end !== "running") {
        update({ attempt, status: plan.end, info: plan.endInfo, outputs: plan.outputs })
      }
    }
    wait(plan.last.rest)
  }
  return { looks, end: current() }
}

/**
 * The steps of a job, in a line.
 *
 * @internal
 */
export const printSteps = (steps: ReadonlyArray<Queue.Event>): string =>
  steps.map(({ _tag, at, attempt }) => `${_tag} ${attempt} +${at - steps[0]!.at}`).join(", ")

/**
 * Any life that a job can have: up to four claims, any end or none yet.
 *
 * @internal
 */
export const life: FastCheck.Arbitrary<Life> = plan.map(live)
