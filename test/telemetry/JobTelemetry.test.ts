import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  DateTime,
  Effect,
  Either,
  Exit,
  FastCheck,
  Layer,
  Logger,
  Metric,
  MetricState,
  Option,
  Queue,
  Redacted,
  Stream,
  TestClock,
  TestContext,
  Tracer
} from "effect"
import {
  Job,
  JobQueue,
  JobRun,
  JobStream,
  JobSummary,
  JobTelemetry,
  JobWatcher,
  QueueError,
  Transition,
  WatchPolicy
} from "effect-queue-status"
import { Conformance, Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as History from "../../src/telemetry/internal/history.js"
import { JobMetrics } from "../../src/telemetry/internal/metrics.js"
import { JobObserver } from "../../src/telemetry/internal/observer.js"
import * as Spans from "../../src/telemetry/internal/spans.js"
import * as TraceContext from "../../src/telemetry/internal/traceContext.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import * as Histories from "../fixtures/histories.js"
import { job as someJob } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { everySecond, inTime, submit } from "../fixtures/watching.js"

type Span = CollectingTracer.CollectedSpan

const numRuns = runs(60, 120)

/** Runs an effect with a tracer, and returns the spans that it made. */
const collected = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<ReadonlyArray<Span>, E, R> =>
  Effect.suspend(() => {
    const { spans, tracer } = CollectingTracer.make()
    return Effect.as(Effect.withTracer(effect, tracer), spans)
  })

const runSync = <A, E>(effect: Effect.Effect<A, E>): A =>
  Effect.runSync(Effect.provide(effect, TestContext.TestContext))

/** The spans of a job with these transitions, whose watch then ends. */
const spansOf = (transitions: ReadonlyArray<Transition.Transition>, clockAhead = 0): ReadonlyArray<Span> => {
  const { spans, tracer } = CollectingTracer.make()
  const [first] = transitions
  if (first === undefined) return spans
  const history = History.begin(first)
  let last: Transition.Terminal | undefined
  for (const transition of transitions) {
    if (Transition.isTerminal(transition)) last = transition
    else History.add(history, transition)
  }
  Spans.draw({ tracer, parent: Option.none(), submit: undefined, clockAhead }, history, last, 0)
  return spans
}

const childrenOf = (spans: ReadonlyArray<Span>): ReadonlyArray<Span> => spans.filter(({ parent }) => parent === "job")

const attemptsOf = (spans: ReadonlyArray<Span>): ReadonlyArray<Span> =>
  spans.filter(({ attributes }) => attributes.has("queue.attempt"))

const millisOf = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.getOrUndefined(Option.map(time, DateTime.toEpochMillis))

const messageOf = ({ exit }: Span): string | undefined =>
  exit === undefined || Exit.isSuccess(exit) ? undefined : Cause.isInterruptedOnly(exit.cause)
    ? "interrupted"
    : String(Option.getOrThrow(Cause.failureOption(exit.cause)))

let models = 0

const isStep = ({ _tag }: Transition.Transition): boolean => _tag !== "Progressed"

/** A sampling of which the service leaves out the same fields in every document. */
const sampled = FastCheck.tuple(Histories.sampled({ mixed: true }), Histories.dropped).map(([sampling, dropped]) =>
  Histories.mapSamples(sampling, (status) => Histories.drop(status, dropped))
)

/** The transitions of two watches: the second one resumes from a cursor of the first, by its text. */
const cut = (samples: ReadonlyArray<Histories.Sample>, at: number) => {
  const steps = Histories.watch(samples).flatMap(({ derivation }, sample) =>
    derivation.transitions.map((transition) => ({ sample, transition }))
  )
  const { sample, transition } = steps[at % steps.length]!
  const from = Either.getOrThrow(Transition.parseCursor(Transition.formatCursor(transition.cursor)))
  return {
    whole: steps.map(({ transition }) => transition),
    before: steps.slice(0, at % steps.length + 1).map(({ transition }) => transition),
    after: Histories.transitionsOf(samples.slice(sample), { from })
  }
}

/** Every span has ended, lies within its parent and has no negative duration; the phases follow one another. */
const assertWellFormed = (spans: ReadonlyArray<Span>) => {
  const [root, ...children] = spans
  assert.strictEqual(root?.name, "job")
  let time = root!.start
  for (const child of children) {
    assert.strictEqual(child.parent, "job")
    assert.isAtLeast(child.start, time)
    time = child.end!
    assert.isAtLeast(time, child.start)
    for (const event of child.events) {
      assert.isAtLeast(event.time, child.start)
      assert.isAtMost(event.time, time)
    }
  }
  assert.isAtLeast(root!.end!, time)
  for (const span of spans) assert.isDefined(span.exit)
}

describe("the spans of a history", () => {
  it("has the true times of every history, if the service reports them", () => {
    FastCheck.assert(
      FastCheck.property(Histories.history, (history) => {
        let steps = 0
        const transitions = Histories.transitionsOf(Histories.everyMoment(history).samples).map((transition) =>
          isStep(transition)
            ? { ...transition, at: Option.some(DateTime.unsafeMake(history.events[steps++]!.at)) }
            : transition
        )
        const spans = spansOf(transitions)
        assertWellFormed(spans)
        const { events } = history
        assert.deepStrictEqual(
          childrenOf(spans).map(({ attributes, end, name, start }) => ({
            name,
            start,
            end,
            isEstimated: attributes.has("queue.start_estimated") || attributes.has("queue.end_estimated")
          })),
          events.slice(0, -1).map(({ _tag, at, attempt }, i) => ({
            name: _tag === "Claimed" ? `attempt ${attempt}` : _tag.toLowerCase(),
            start: at,
            end: events[i + 1]!.at,
            isEstimated: false
          }))
        )
      }),
      { numRuns }
    )
  })

  it("has each attempt of the summary once, with its reported times and its end", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamplesOfAnyState, (samples) => {
        const transitions = Histories.transitionsOf(samples, { unrecognized: "end" })
        const { attempts, job, outcome } = transitions.reduce(JobSummary.add, JobSummary.empty(transitions[0]!.job))
        const spans = spansOf(transitions)
        assertWellFormed(spans)
        const ended = attempts.filter(({ end }) => Option.isSome(end))
        const found = attemptsOf(spans)
        assert.strictEqual(found.length, ended.length)
        ended.forEach(({ attempt, claimedAt, end, endedAt }, i) => {
          const { attributes, start, end: ending } = found[i]!
          assert.strictEqual(found[i]!.name, `attempt ${attempt}`)
          assert.strictEqual(attributes.get("queue.attempt"), attempt)
          assert.strictEqual(attributes.has("queue.start_estimated"), Option.isNone(claimedAt))
          assert.strictEqual(attributes.has("queue.end_estimated"), Option.isNone(endedAt))
          if (Option.isSome(claimedAt)) assert.strictEqual(start, millisOf(claimedAt))
          if (Option.isSome(endedAt)) assert.strictEqual(ending, millisOf(endedAt))
          const errors: { readonly [end: string]: string | undefined } = {
            Requeued: "WorkerLost",
            RetriesExhausted: "WorkerLost",
            FailedByModel: "FailedByModel"
          }
          assert.strictEqual(attributes.get("error.type"), errors[Option.getOrThrow(end)])
        })
        const [root] = spans
        assert.strictEqual(root!.attributes.get("queue.outcome"), Option.getOrUndefined(outcome))
        assert.strictEqual(messageOf(root!) === "interrupted", Option.isNone(outcome))
        for (const { attributes, exit } of spans) {
          assert.strictEqual(attributes.get("messaging.destination.name"), job.model)
          assert.strictEqual(attributes.get("messaging.message.id"), job.requestId)
          if (attributes.has("error.type")) assert(Exit.isExit(exit) && Exit.isFailure(exit))
        }
      }),
      { numRuns }
    )
  })

  it("has each phase once over two watches, for any cursor that the second one resumes from", () => {
    FastCheck.assert(
      FastCheck.property(sampled, FastCheck.nat(), ({ samples }, at) => {
        const { after, before, whole } = cut(samples, at)
        const first = childrenOf(spansOf(before))
        const second = after.length === 0 ? [] : spansOf(after)
        if (second.length > 0) assertWellFormed(second)
        const halves = [...first, ...childrenOf(second)]
        const all = childrenOf(spansOf(whole))
        assert.deepStrictEqual(halves.map(({ name }) => name), all.map(({ name }) => name))
        halves.forEach((span, i) => {
          const isResumed = i === first.length
          assert.strictEqual(span.attributes.get("queue.resumed"), isResumed ? true : undefined)
          assert.strictEqual(messageOf(span), messageOf(all[i]!))
          // a resumed phase knows as much of its beginning as the cursor, or the snapshot after it
          if (!span.attributes.has("queue.start_estimated")) assert.strictEqual(span.start, all[i]!.start)
          if (!span.attributes.has("queue.end_estimated")) assert.strictEqual(span.end, all[i]!.end)
          if (!isResumed) {
            assert.deepStrictEqual(span.attributes, all[i]!.attributes)
          }
        })
        const root = second[0]
        if (root !== undefined) assert.strictEqual(root.attributes.get("queue.resumed"), true)
      }),
      { numRuns: 2 * numRuns }
    )
  })

  it("knows the beginning of a resumed attempt whose claim was reported", () => {
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: true }), FastCheck.nat(), ({ samples }, at) => {
        const { after, before, whole } = cut(samples, at)
        const [claim] = before.filter(isStep).slice(-1)
        FastCheck.pre(claim?._tag === "Claimed" && Option.isSome(claim.at) && after.some(isStep))
        const [resumed] = childrenOf(spansOf(after))
        FastCheck.pre(resumed !== undefined)
        assert.strictEqual(resumed!.name, `attempt ${claim!.attempt}`)
        assert.strictEqual(resumed!.start, millisOf(claim!.at))
        assert.isFalse(resumed!.attributes.has("queue.start_estimated"))
        assert.isAbove(whole.length, 0)
      }),
      { numRuns }
    )
  })

  it("has no negative duration, however the clocks run", () => {
    const time = FastCheck.integer({ min: -5, max: 5 })
    FastCheck.assert(
      FastCheck.property(
        Histories.anySamples,
        FastCheck.infiniteStream(FastCheck.tuple(FastCheck.option(time), time)),
        FastCheck.nat({ max: 4 }),
        (samples, times, from) => {
          const transitions = Histories.transitionsOf(samples).slice(from).map((transition): Transition.Transition => {
            const [at, observedAt]: readonly [number | null, number] = times.next().value
            return {
              ...transition,
              at: Option.map(Option.fromNullable(at), (at) => DateTime.unsafeMake(at)),
              observedAt: DateTime.unsafeMake(observedAt)
            }
          })
          FastCheck.pre(transitions.length > 0)
          assertWellFormed(spansOf(transitions))
        }
      ),
      { numRuns }
    )
  })

  it("shows nothing of inputs and outputs, and of `info` only progress and the reason of a failure", () => {
    const secrets = { a: "secret-1", "secret-2": { b: ["secret-3"] } }
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: true }), ({ samples }) => {
        const transitions = Histories.transitionsOf(samples.map((sample) => ({
          ...sample,
          status: {
            ...sample.status,
            inputs: secrets,
            outputs: secrets,
            info: { ...secrets, error: "no memory", progress: 0.5 }
          }
        })))
        const text = JSON.stringify(
          spansOf(transitions).map(({ attributes, events, exit }) => [[...attributes], events, exit])
        )
        assert.notInclude(text, "secret")
        assert.strictEqual(text.includes("no memory"), transitions.some(({ _tag }) => _tag === "FailedByModel"))
      }),
      { numRuns }
    )
  })

  it("keeps the last 128 progress events of an attempt", () => {
    const at = (millis: number) => DateTime.unsafeMake(millis)
    const samples = Array.from({ length: 200 }, (_, i) => ({
      moment: undefined,
      status: Job.Running({ job: someJob, claimedAt: Option.some(at(0)), info: { progress: i / 200 } }),
      observedAt: at(i)
    }))
    const end = { moment: undefined, status: Job.Done({ job: someJob }), observedAt: at(200) }
    const [attempt] = attemptsOf(spansOf(Histories.transitionsOf([...samples, end])))
    assert.deepStrictEqual(
      attempt!.events,
      samples.slice(-128).map(({ observedAt, status }) => ({
        name: "progress",
        time: observedAt.epochMillis,
        attributes: { "queue.progress": status.info["progress"] }
      }))
    )
  })
})

/** The trace of a job as text, in seconds since its beginning. */
const treeOf = (spans: ReadonlyArray<Span>): ReadonlyArray<string> => {
  const zero = spans.find(({ name }) => name === "job")!.start
  const flags = ["inferred", "resumed", "start_estimated", "end_estimated"]
  return spans.map((span) => {
    const { attributes, end, events, name, parent, start } = span
    const times = `${(start - zero) / 1_000}-${(end! - zero) / 1_000}`
    const type = attributes.get("error.type")
    const message = messageOf(span)
    return [
      `${parent === "job" ? "  " : ""}${name} ${times}`,
      ...events.map(({ attributes, time }) => `${attributes?.["queue.progress"]} at ${(time - zero) / 1_000}`),
      ...flags.filter((flag) => attributes.get(`queue.${flag}`) === true),
      ...message === undefined ? [] : [type === undefined ? message : `${type}: ${message}`]
    ].join(", ")
  })
}

/** A queue in memory, whose watches are observed. */
const queue = (workers: Worker.Pool | undefined, ...faults: ReadonlyArray<Fault.Fault>) =>
  Layer.provideMerge(JobTelemetry.layer, TestJobQueue.layer({ workers, faults }))

/** The spans of jobs that an effect makes. */
const jobSpans = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(collected(effect), (spans) => spans.filter(({ attributes }) => attributes.has("messaging.message.id")))

const spansOfWatch = (job: Job.JobRef, options: JobStream.TransitionsOptions = everySecond) =>
  jobSpans(Stream.runDrain(JobStream.transitions(job, options)))

/** The trace of a job of these workers, polled every second. */
const traceOf = (workers: Worker.Pool) =>
  Effect.flatMap(submit, (job) => spansOfWatch(job)).pipe(
    Effect.map(treeOf),
    inTime,
    Effect.provide(queue(workers))
  )

const done: Worker.Pool = { script: Worker.always(Worker.finish("1 second")) }

const pickup = "1500 millis"

describe("the trace of a job", () => {
  it.effect("that completes", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* traceOf({
          pickup,
          script: Worker.always(Worker.progress("2 seconds", 0.5), Worker.finish("1200 millis"))
        }),
        ["job 0-4.7", "  queued 0-1.5", "  attempt 1 1.5-4.7, 0.5 at 4"]
      )
    }))

  it.effect("that loses its worker, and completes", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* traceOf({
          pickup,
          claimTimeout: "5 seconds",
          script: Worker.attempts([Worker.stopResponding], [Worker.finish("2 seconds")])
        }),
        [
          "job 0-10",
          "  queued 0-1.5",
          "  attempt 1 1.5-7, end_estimated, WorkerLost: the worker was lost",
          "  requeued 7-8, start_estimated",
          "  attempt 2 8-10"
        ]
      )
    }))

  it.effect("that its model fails", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* traceOf({ pickup, script: Worker.always(Worker.fail("1 second", "out of memory")) }),
        [
          "job 0-2.5, FailedByModel: out of memory",
          "  queued 0-1.5",
          "  attempt 1 1.5-2.5, FailedByModel: out of memory"
        ]
      )
    }))

  it.effect("that loses its last worker", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* traceOf({ claimTimeout: "5 seconds", script: Worker.always(Worker.stopResponding) }),
        [
          "job 0-20, RetriesExhausted: the worker of the last attempt was lost",
          "  queued 0-0, inferred",
          "  attempt 1 0-5, end_estimated, WorkerLost: the worker was lost",
          "  requeued 5-5, inferred, start_estimated",
          "  attempt 2 5-10, end_estimated, WorkerLost: the worker was lost",
          "  requeued 10-10, inferred, start_estimated",
          "  attempt 3 10-15, end_estimated, WorkerLost: the worker was lost",
          "  requeued 15-15, inferred, start_estimated",
          "  attempt 4 15-20, WorkerLost: the worker was lost"
        ]
      )
    }))

  it.effect("that is canceled while it is pending", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* Effect.fork(Effect.delay(JobQueue.cancel(job), "2500 millis"))
      const spans = yield* spansOfWatch(job)
      // the service does not report when
      assert.deepStrictEqual(treeOf(spans), ["job 0-3, end_estimated", "  queued 0-3, end_estimated"])
      assert.strictEqual(spans[0]!.attributes.get("queue.outcome"), "Canceled")
    }).pipe(inTime, Effect.provide(queue(undefined))))

  it.effect("whose watch is interrupted, and resumes from its cursor", () =>
    Effect.gen(function*() {
      const job = yield* submit
      let cursor: Transition.Cursor | undefined
      const first = yield* jobSpans(
        JobStream.transitions(job, everySecond).pipe(
          Stream.runForEach((transition) => Effect.sync(() => cursor = transition.cursor)),
          Effect.timeoutOption("3500 millis")
        )
      )
      assert.deepStrictEqual(treeOf(first), ["job 0-3.5, end_estimated, interrupted", "  queued 0-1.5"])
      assert.strictEqual(first[0]!.attributes.get("queue.open_phase"), "attempt 1")
      assert.deepStrictEqual(treeOf(yield* spansOfWatch(job, { ...everySecond, from: cursor })), [
        "job 0-6.5, resumed",
        "  attempt 1 1.5-6.5, resumed"
      ])
    }).pipe(
      inTime,
      Effect.provide(queue({ pickup, script: Worker.always(Worker.finish("5 seconds")) }))
    ))

  it.effect("is a child of the current span; there is none where tracing is off", () =>
    Effect.gen(function*() {
      const watch = Stream.runDrain(JobStream.transitions(yield* submit, everySecond))
      const spans = yield* jobSpans(Effect.withSpan(watch, "order"))
      assert.deepStrictEqual(spans.map(({ name, parent }) => [name, parent]), [
        ["job", "order"],
        ["queued", "job"],
        ["attempt 1", "job"]
      ])
      assert.deepStrictEqual(yield* jobSpans(Effect.withTracerEnabled(watch, false)), [])
    }).pipe(inTime, Effect.provide(queue(done))))

  it.effect("is made of each job of many", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 20)
      const spans = yield* jobSpans(
        Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), everySecond))
      )
      assert.strictEqual(spans.length, 60)
      for (const { requestId } of jobs) {
        assertWellFormed(spans.filter(({ attributes }) => attributes.get("messaging.message.id") === requestId))
      }
    }).pipe(inTime, Effect.provide(queue({ ...done, workers: 3 }))))
})

/** The counts and sums of the metrics of a model, by their names. */
const figuresOf = (model: string): { readonly [name: string]: unknown } => {
  const figures: { [name: string]: unknown } = {}
  for (const { metricKey: { name, tags }, metricState } of Effect.runSync(Metric.snapshot)) {
    if (!name.startsWith("effect_queue_status_job_")) continue
    if (!tags.some(({ key, value }) => key === "model" && value === model)) continue
    const kind = tags.find(({ key }) => key !== "model")?.value
    const short = name.replace("effect_queue_status_job_", "") + (kind === undefined ? "" : ` ${kind}`)
    figures[short] = MetricState.isHistogramState(metricState)
      ? { count: metricState.count, sum: metricState.sum }
      : MetricState.isCounterState(metricState)
      ? Number(metricState.count)
      : MetricState.isGaugeState(metricState)
      ? Number(metricState.value)
      : undefined
  }
  return figures
}

/** The figures of watches of jobs: a model of its own for each call, since metrics are global. */
const metered = (...watches: ReadonlyArray<ReadonlyArray<Transition.Transition>>) => {
  const model = `metered-${models++}`
  const metrics = new JobMetrics([])
  for (const transitions of watches) {
    for (const transition of transitions) {
      metrics.step({ ...transition, job: Job.ref(model, transition.job.requestId) })
    }
  }
  return figuresOf(model)
}

describe("the metrics of a history", () => {
  const total = (durations: ReadonlyArray<number>) =>
    durations.length === 0 ? undefined : { count: durations.length, sum: durations.reduce((a, b) => a + b) }

  it("counts each job once, with the durations that the server reported", () => {
    FastCheck.assert(
      FastCheck.property(sampled, ({ samples }) => {
        const transitions = Histories.transitionsOf(samples)
        const summary = transitions.reduce(JobSummary.add, JobSummary.empty(transitions[0]!.job))
        const last = transitions.at(-1)!
        const steps = transitions.filter(isStep)
        const waits = steps.flatMap(({ _tag, at }, i) => {
          const until = steps[i + 1]?.at ?? Option.none()
          return _tag !== "Claimed" && Option.isSome(at) && Option.isSome(until)
            ? [until.value.epochMillis - at.value.epochMillis]
            : []
        })
        const works = summary.attempts.flatMap(({ claimedAt, endedAt }) =>
          Option.isSome(claimedAt) && Option.isSome(endedAt)
            ? [endedAt.value.epochMillis - claimedAt.value.epochMillis]
            : []
        )
        const ended = Transition.isTerminal(last)
        const expected = {
          queue_time_millis: total(waits),
          run_time_millis: total(works),
          attempts: ended ? { count: 1, sum: last.attempt } : undefined,
          staleness_millis: ended && Option.isSome(last.at)
            ? { count: 1, sum: Math.max(0, last.observedAt.epochMillis - last.at.value.epochMillis) }
            : undefined,
          ...ended && { [`outcomes ${last._tag}`]: 1 }
        }
        const figures = metered(transitions)
        assert.sameMembers(
          Object.keys(figures),
          Object.entries(expected).flatMap(([name, figure]) => figure === undefined ? [] : [name])
        )
        for (const [name, figure] of Object.entries(figures)) {
          assert.deepStrictEqual(figure, expected[name as keyof typeof expected], name)
        }
      }),
      { numRuns }
    )
  })

  it("counts nothing twice over two watches, and leaves nothing out", () => {
    FastCheck.assert(
      FastCheck.property(sampled, FastCheck.nat(), ({ samples }, at) => {
        const { after, before, whole } = cut(samples, at)
        assert.deepStrictEqual(metered(before, after), metered(whole))
      }),
      { numRuns }
    )
  })
})

/**
 * A watcher that reports these samples, in chunks of some size, and then the end. A later watch receives the last one: no
 * watcher reports a sample that is older than one before.
 */
const replaying = (samples: ReadonlyArray<Histories.Sample>, size: number) =>
  Layer.sync(JobWatcher.JobWatcher, () => {
    let news = samples
    return {
      pollingEvents: Stream.never,
      subscribe: () =>
        Effect.map(Queue.unbounded<JobWatcher.Notice>(), (notices) => ({
          next: Queue.takeBetween(notices, 1, size) as Effect.Effect<Chunk.NonEmptyChunk<JobWatcher.Notice>>,
          add: (job, cursor) =>
            Effect.suspend(() => {
              const watch = { job, cursor }
              const reported = news
              news = samples.slice(-1)
              return Queue.offerAll(notices, [
                ...reported.map(({ observedAt, status }) => ({
                  _tag: "Sample" as const,
                  watch,
                  status: { ...status, job },
                  at: observedAt
                })),
                { _tag: "Ended", watch, exit: Exit.void }
              ])
            })
        }))
    }
  })

const unrecognized = "end"

describe("the layer", () => {
  it("makes the trace and the metrics of each history once for all subscribers, and forwards everything", () => {
    type Read = (job: Job.JobRef) => Effect.Effect<unknown, unknown, JobWatcher.JobWatcher>
    const reader = FastCheck.constantFrom<Array<Read>>(
      (job) => Stream.runCollect(JobStream.statuses(job, { unrecognized })),
      (job) => Stream.runCollect(JobStream.transitions(job, { unrecognized })),
      (job) => JobStream.result(job, { unrecognized })
    )
    FastCheck.assert(
      FastCheck.property(
        Histories.anySamplesOfAnyState,
        FastCheck.integer({ min: 1, max: 4 }),
        FastCheck.array(reader, { minLength: 1, maxLength: 3 }),
        (samples, size, readers) => {
          const job = Job.ref(`layer-${models++}`, samples[0]!.status.job.requestId)
          const ofJob = samples.map((sample) => ({ ...sample, status: { ...sample.status, job } }))
          const watcher = replaying(ofJob, size)
          const watch = Effect.all(readers.map((read) => Effect.exit(read(job))))
          const plain = runSync(Effect.provide(watch, watcher))
          const { spans, tracer } = CollectingTracer.make()
          const observed = runSync(
            watch.pipe(
              Effect.provide(Layer.provide(JobTelemetry.layer, watcher)),
              Effect.withTracer(tracer)
            )
          )
          // a result without an end is a defect, with a stack trace
          const print = (exits: typeof plain) =>
            exits.map((exit) => Exit.isFailure(exit) && Cause.isDie(exit.cause) ? "died" : exit)
          assert.deepStrictEqual(print(observed), print(plain))
          const transitions = Histories.transitionsOf(ofJob, { unrecognized })
          const made = spans.filter(({ attributes }) => attributes.has("messaging.message.id"))
          assert.deepStrictEqual(made, spansOf(transitions))
          assert.deepStrictEqual(figuresOf(job.model), metered(transitions))
        }
      ),
      { numRuns }
    )
  })

  for (
    const { name, run } of Conformance.watcherChecks({
      watcher: Layer.provide(JobTelemetry.layer, JobWatcher.layer()),
      pass: TestClock.adjust
    })
  ) it.effect(name, () => run)

  it.effect("traces a job once for all subscribers, before its end and after", () =>
    Effect.gen(function*() {
      const model = `layer-${models++}`
      const job = yield* JobQueue.submit({ model, payload: {} })
      const spans = yield* jobSpans(Effect.gen(function*() {
        yield* JobStream.transitions(job, everySecond).pipe(Stream.take(2), Stream.runDrain)
        yield* Effect.all([JobStream.result(job, everySecond), Stream.runDrain(JobStream.statuses(job, everySecond))], {
          concurrency: 2
        })
        yield* JobStream.result(job, everySecond)
      }))
      assert.deepStrictEqual(treeOf(spans), [
        "job 0-2, end_estimated, interrupted",
        "  queued 0-1.5",
        "job 0-3.5, resumed",
        "  attempt 1 1.5-3.5, resumed"
      ])
      assert.deepStrictEqual(figuresOf(model), {
        queue_time_millis: { count: 1, sum: 1_500 },
        run_time_millis: { count: 1, sum: 2_000 },
        attempts: { count: 1, sum: 1 },
        "outcomes Completed": 1,
        staleness_millis: { count: 1, sum: 500 }
      })
    }).pipe(inTime, Effect.provide(queue({ pickup, script: Worker.always(Worker.finish("2 seconds")) }))))

  it.effect("tags all metrics as those of the program are", () =>
    Effect.gen(function*() {
      const model = "my-org/labeled"
      const labeled = JobQueue.submit({ model, payload: {} }).pipe(
        Effect.flatMap((job) => JobStream.result(job)),
        inTime,
        Effect.provide(JobTelemetry.layer.pipe(
          Layer.provideMerge(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("2 seconds")) } }))
        ))
      )
      yield* Effect.tagMetrics(labeled, "program", "labeled")
      const keys = (yield* Metric.snapshot).map(({ metricKey }) => metricKey)
      const tagsOf = (name: string) =>
        keys.filter((key) => key.name === `effect_queue_status_${name}`)
          .map(({ tags }) => Object.fromEntries(tags.map(({ key, value }) => [key, value])))
      for (const name of ["watcher_watches", "watcher_pollers", "watcher_budget_use"]) {
        assert.deepInclude(tagsOf(name), { program: "labeled" }, name)
      }
      for (const name of ["watcher_polls", "watcher_running", "job_run_time_millis"]) {
        assert.deepInclude(tagsOf(name), { model, program: "labeled" }, name)
      }
      assert.deepInclude(tagsOf("job_outcomes"), { model, program: "labeled", outcome: "Completed" })
    }))

  it.effect("remembers the last 10,000 jobs whose watches have ended", () =>
    Effect.gen(function*() {
      const observer = new JobObserver(new JobMetrics([]), () => 0)
      const fiber = yield* Effect.fork(Effect.void)
      const rules = {
        readProgress: () => Option.none(),
        readReason: () => Option.none(),
        unrecognized: "fail"
      } as const
      const model = `layer-${models++}`
      /** Whether the job is new. */
      const watch = Effect.fnUntraced(function*(requestId: string) {
        const job = Job.ref(model, requestId)
        const watched = observer.begin(job, undefined, fiber)
        const isNew = watched.cursor === undefined
        const sample = { watch: { job, cursor: undefined }, status: Job.Done({ job }), at: DateTime.unsafeMake(0) }
        observer.onNotice(watched, { _tag: "Sample", ...sample }, rules)
        observer.end(watched)
        return isNew
      })
      assert.isTrue(yield* watch("first"))
      for (let i = 1; i < 10_000; i++) assert.isTrue(yield* watch(`${i}`))
      assert.isFalse(yield* watch("first"))
      for (let i = 0; i < 10_000; i++) yield* watch(`another ${i}`)
      assert.isTrue(yield* watch("first"))
    }))

  it.effect("observes `JobRun`, as a child of its span", () =>
    Effect.gen(function*() {
      const spans = yield* jobSpans(JobRun.run({ model: "my-org/video-generator", payload: {} }, everySecond))
      assert.deepStrictEqual(spans.map(({ name, parent }) => [name, parent]), [
        ["job", "JobRun.run"],
        ["queued", "job"],
        ["attempt 1", "job"]
      ])
    }).pipe(inTime, Effect.provide(queue(done))))

  it.effect("counts troubles once, and the jobs in trouble", () =>
    Effect.gen(function*() {
      const model = `layer-${models++}`
      const job = yield* JobQueue.submit({ model, payload: {} })
      const watches = yield* Effect.fork(
        Effect.all([JobStream.result(job, everySecond), Stream.runDrain(JobStream.events(job, everySecond))], {
          concurrency: 2
        })
      )
      yield* Effect.sleep("1100 millis")
      assert.deepStrictEqual(figuresOf(model), { in_trouble: 1, "troubles Unavailable": 1 })
      yield* watches
      const { in_trouble, ...figures } = figuresOf(model)
      assert.strictEqual(in_trouble, 0)
      assert.strictEqual(figures["troubles Unavailable"], 2)
      assert.strictEqual(figures["outcomes Completed"], 1)
    }).pipe(
      inTime,
      Effect.provide(queue({ ...done, pickup }, Fault.unavailable().pipe(Fault.on("status"), Fault.nth(2, 3))))
    ))

  it.effect("counts a job that is not watched any more as no job in trouble", () =>
    Effect.gen(function*() {
      const model = `layer-${models++}`
      const job = yield* JobQueue.submit({ model, payload: {} })
      yield* Effect.timeoutOption(JobStream.result(job, everySecond), "1100 millis")
      assert.deepStrictEqual(figuresOf(model), { in_trouble: 0, "troubles Unavailable": 1 })
    }).pipe(
      inTime,
      Effect.provide(queue(undefined, Fault.unavailable().pipe(Fault.on("status"), Fault.nth(2, Infinity))))
    ))

  it.effect("ends the span of a job that can't be watched any more", () =>
    Effect.gen(function*() {
      const [denied, job] = yield* Effect.replicateEffect(submit, 2)
      const spans = yield* jobSpans(Stream.runDrain(JobStream.watchAll(Stream.make(denied!, job!), everySecond)))
      const treeOfJob = ({ requestId }: Job.JobRef) =>
        treeOf(spans.filter(({ attributes }) => attributes.get("messaging.message.id") === requestId))
      assert.deepStrictEqual(treeOfJob(denied!), ["job 0-1, end_estimated, interrupted"])
      assert.deepStrictEqual(treeOfJob(job!), ["job 0-2.5", "  queued 0-1.5", "  attempt 1 1.5-2.5"])
    }).pipe(
      inTime,
      Effect.provide(queue({ ...done, pickup, workers: 2 }, Fault.unauthorized.pipe(Fault.on("status"), Fault.nth(3))))
    ))

  it.effect("shows how far the server's clock is ahead, and leaves its times as they are; a poll has no span", () =>
    Effect.gen(function*() {
      const hour = 3_600_000
      const status = JSON.stringify({
        request_id: someJob.requestId,
        model: someJob.model,
        status: "done",
        created_at: "1970-01-01T01:00:00Z",
        claimed_at: "1970-01-01T01:00:01Z",
        done_at: "1970-01-01T01:00:05Z",
        outputs: {}
      })
      const client = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(
          request,
          new Response(status, { headers: { date: "Thu, 01 Jan 1970 01:00:00 GMT" } })
        ))
      )
      const spans = yield* collected(Stream.runDrain(JobStream.transitions(someJob))).pipe(
        Effect.provide(
          JobTelemetry.layer.pipe(
            Layer.provide(JobWatcher.layer()),
            Layer.provide(JobQueue.layer({ apiKey: Redacted.make("token") })),
            Layer.provide(Layer.succeed(HttpClient.HttpClient, client))
          )
        )
      )
      assert.sameMembers(spans.map(({ name }) => name), ["job", "queued", "attempt 1", "JobStream.transitions"])
      const span = spans.find(({ name }) => name === "job")
      assert.strictEqual(span?.attributes.get("queue.clock_ahead_millis"), hour)
      assert.deepStrictEqual([span?.start, span?.end], [hour, hour + 5_000])
    }))

  it.effect("watches on though the tracer throws, and logs that", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const broken = Tracer.make({
        context: (f) => f(),
        span: (name) => {
          throw new Error(`no span ${name}`)
        }
      })
      const job = yield* submit
      const statuses = yield* Effect.flatMap(JobWatcher.JobWatcher, ({ subscribe }) =>
        Effect.gen(function*() {
          const subscription = yield* subscribe({ policy: yield* WatchPolicy.Default, wants: "changes" })
          yield* subscription.add(job)
          return yield* Stream.repeatEffectChunk(subscription.next).pipe(
            Stream.takeUntil(({ _tag }) => _tag === "Ended"),
            Stream.runCollect
          )
        })).pipe(
          Effect.scoped,
          Effect.withTracer(broken),
          Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => logged.push(message))))
        )
      assert.strictEqual(Chunk.unsafeLast(statuses)._tag, "Ended")
      assert.match(String(logged), /^The spans of a job could not be made,Error: no span job$/)
    }).pipe(inTime, Effect.provide(queue(done))))
})

describe("the trace context of a submit", () => {
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
  const spanId = "00f067aa0ba902b7"

  it.effect("travels with the job, and links its trace in another process", () =>
    Effect.gen(function*() {
      const { job, trace } = yield* Effect.all({
        job: JobRun.submit({ model: "my-org/video-generator", payload: {}, info: { user: "a" } }),
        trace: Effect.map(Effect.orDie(Effect.currentSpan), ({ traceId }) => traceId)
      }).pipe(Effect.withSpan("order"), Effect.provide(JobTelemetry.propagation))
      const { info } = yield* JobQueue.status(job)
      assert.strictEqual(info["user"], "a")
      const [root, ...phases] = yield* spansOfWatch(job)
      assert.deepStrictEqual(root!.links.map(({ span }) => span.traceId), [trace])
      assert.isTrue(phases.every(({ links }) => links.length === 0))
    }).pipe(inTime, Effect.provide(queue(done))))

  it.effect("is neither written without the layer or a span, nor instead of one that is there", () =>
    Effect.gen(function*() {
      const infoOf = (info: object) =>
        Effect.flatMap(
          JobQueue.submit({ model: "my-org/video-generator", payload: {}, info }),
          (job) => Effect.map(JobQueue.status(job), ({ info }) => info)
        )
      const inSpan = Effect.withSpan("a span")
      assert.deepStrictEqual(yield* inSpan(infoOf({})), {})
      assert.deepStrictEqual(yield* Effect.provide(infoOf({}), JobTelemetry.propagation), {})
      const untraced = Effect.withTracerEnabled(inSpan(infoOf({})), false)
      assert.deepStrictEqual(yield* Effect.provide(untraced, JobTelemetry.propagation), {})
      const own = { traceparent: "mine" }
      assert.deepStrictEqual(yield* Effect.provide(inSpan(infoOf(own)), JobTelemetry.propagation), own)
    }).pipe(inTime, Effect.provide(queue(done))))

  it("is ignored if it is forged, unless it is valid", () => {
    const parse = (traceparent: unknown) => TraceContext.parse({ traceparent } as Job.JsonObject)
    const valid = `00-${traceId}-${spanId}-00`
    assert.deepInclude(parse(valid), { traceId, spanId, sampled: false })
    assert.deepInclude(parse(`cc-${traceId}-${spanId}-01-what-comes-later`), { traceId, sampled: true })
    for (
      const forged of [
        undefined,
        null,
        7,
        [valid],
        "",
        valid.toUpperCase(),
        `${valid}-more`,
        ` ${valid}`,
        `${valid}\n`,
        `ff-${traceId}-${spanId}-00`,
        `00-${"0".repeat(32)}-${spanId}-00`,
        `00-${traceId}-${"0".repeat(16)}-00`,
        `cc-${traceId}-${spanId}-00-${"x".repeat(10_000)}`
      ]
    ) assert.isUndefined(parse(forged), String(forged))
    FastCheck.assert(FastCheck.property(FastCheck.string(), (text) => parse(text) === undefined), { numRuns })
  })
})

describe("bad input", () => {
  const at = (millis: number) => Option.some(DateTime.unsafeMake(millis))
  const hour = 3_600_000

  /** The spans of a watch that receives these snapshots, one a second. */
  const spansOfSnapshots = (statuses: ReadonlyArray<Job.JobStatus>) =>
    spansOf(Histories.transitionsOf(statuses.map((status, i) => ({
      moment: undefined,
      status,
      observedAt: DateTime.unsafeMake(10 * hour + i * 1_000)
    }))))

  it("is a server whose clock is hours off: its own times are kept, and those between are moved", () => {
    for (const ahead of [-5 * hour, 5 * hour]) {
      const server = 10 * hour + ahead
      const spans = spansOfSnapshots([
        Job.Pending({ job: someJob, createdAt: at(server) }),
        // the time of the claim is missing
        Job.Running({ job: someJob, createdAt: at(server) }),
        Job.Done({ job: someJob, createdAt: at(server), doneAt: at(server + 3_000) })
      ])
      assertWellFormed(spans)
      assert.deepStrictEqual([spans[0]!.start, spans[0]!.end], [server, server + 3_000])
      assert.isTrue(spans[2]!.attributes.get("queue.start_estimated"))
    }
  })

  it("is a server whose clock runs backwards between attempts", () => {
    const times = { job: someJob, createdAt: at(10 * hour) }
    const spans = spansOfSnapshots([
      Job.Running({ ...times, claimedAt: at(10 * hour + 1_000), retries: Option.some(0) }),
      Job.Running({ ...times, claimedAt: at(9 * hour), retries: Option.some(1) }),
      Job.Done({ ...times, claimedAt: at(8 * hour), doneAt: at(7 * hour), retries: Option.some(2) })
    ])
    assertWellFormed(spans)
    assert.deepStrictEqual(attemptsOf(spans).map(({ name }) => name), ["attempt 1", "attempt 2", "attempt 3"])
  })

  it("is a job without any time", () => {
    const spans = spansOfSnapshots([Job.Pending({ job: someJob }), Job.Done({ job: someJob })])
    assertWellFormed(spans)
    assert.isTrue(spans.every(({ attributes }) => attributes.has("queue.end_estimated")))
  })

  it("is a job of 10,000 attempts", () => {
    const spans = spansOfSnapshots([Job.Done({ job: someJob, retries: Option.some(9_999) })])
    assertWellFormed(spans)
    assert.isAtMost(spans.length, 20_001)
    assert.strictEqual(spans[0]!.attributes.get("queue.attempts"), attemptsOf(spans).length)
  })
})

describe("a sample", () => {
  it.effect("is derived once for the layer and the subscriber, and not again while it shows nothing new", () =>
    Effect.gen(function*() {
      let derived = 0
      const counting = Effect.provideService(Job.ProgressRule, () => {
        derived++
        return Option.none()
      })
      const job = yield* submit
      const polls = yield* Stream.runCount(JobStream.statuses(job, everySecond)).pipe(counting)
      assert.isAbove(polls, 10)
      const alone = derived
      yield* Stream.runDrain(JobStream.transitions(yield* submit, everySecond)).pipe(counting)
      assert.strictEqual(derived - alone, alone)
    }).pipe(
      inTime,
      Effect.provide(queue({ script: Worker.always(Worker.progress("5 seconds", 0.5), Worker.finish("10 seconds")) }))
    ))
})

describe("the guide", () => {
  const guide = readFileSync(fileURLToPath(new URL("../../docs/telemetry.md", import.meta.url)), "utf8")

  /** The rows of the table under these headings. */
  const rows = (first: string): ReadonlyArray<ReadonlyArray<string>> => {
    const [, table = ""] = guide.split(`| ${first} |`)
    return table.split("\n\n")[0]!.split("\n").slice(2).map((row) =>
      row.split("|").slice(1, -1).map((cell) => cell.trim())
    )
  }

  const code = (text: string): ReadonlyArray<string> => Array.from(text.matchAll(/`([^`]+)`/g), ([, name]) => name!)

  /** The spans of all kinds of jobs. */
  const spans = FastCheck.sample(FastCheck.tuple(Histories.anySamplesOfAnyState, FastCheck.nat()), 500).flatMap(
    ([samples, at]) => {
      const transitions = Histories.transitionsOf(samples, { unrecognized: "end" })
      return [...spansOf(transitions, 60_000), ...spansOf(transitions.slice(at % transitions.length))]
    }
  )

  it("names every span and attribute", () => {
    const numbered = (name: string) => name.replace(/\d+$/, "n")
    assert.sameMembers(
      [...new Set(rows("span").flatMap(([name]) => code(name!)).map(numbered))],
      [...new Set(spans.map(({ name }) => numbered(name)))]
    )
    const kinds = { job: "job", attempt: "attempt n" }
    const found = new Set(spans.flatMap(({ attributes, events }) => [
      ...attributes.keys(),
      ...events.flatMap((event) => Object.keys(event.attributes ?? {}))
    ]))
    assert.sameMembers([...new Set(rows("attribute").flatMap(([name]) => code(name!)))], [...found])
    for (const [name, of, value] of rows("attribute")) {
      const [attribute] = code(name!)
      const [kind] = code(of!)
      if (kind === undefined) continue
      const having = spans.filter((span) => numbered(span.name) === kinds[kind as keyof typeof kinds])
        .filter(({ attributes }) => attributes.has(attribute!))
      assert.isAbove(having.length, 0, `${attribute} of ${kind}`)
      if (attribute === "error.type") {
        assert.sameMembers(
          [...new Set(having.map(({ attributes }) => attributes.get(attribute)))],
          code(value!).filter((word) => word !== "job" && word !== "attempt")
        )
      }
    }
  })

  it("names every metric", () => {
    const model = `guide-${models++}`
    const error = new QueueError.AccessDenied({ operation: "status", model, httpStatus: 401 })
    new JobMetrics([]).trouble(model, error, true)
    const names = [
      ...Object.keys(figuresOf(model)),
      ...FastCheck.sample(sampled, 100).flatMap(({ samples }) => Object.keys(metered(Histories.transitionsOf(samples))))
    ]
    assert.sameMembers(
      rows("metric").flatMap(([name]) => code(name!)),
      [...new Set(names.map((name) => `job_${name.split(" ")[0]}`))]
    )
  })
})
