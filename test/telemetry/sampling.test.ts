/**
 * Traces of which a sampler keeps none: those of OpenTelemetry's SDK, and of a parent span that is not sampled.
 */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import * as Otlp from "@effect/opentelemetry/Otlp"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  InMemorySpanExporter,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  SimpleSpanProcessor,
  TraceIdRatioBasedSampler
} from "@opentelemetry/sdk-trace-base"
import { Effect, Layer, Metric, MetricState, Stream, Tracer } from "effect"
import { JobQueue, JobStream, JobTelemetry } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import * as Receiver from "../fixtures/otlpReceiver.js"
import { everySecond } from "../fixtures/watching.js"

const model = "sampling"

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"

const unsampled = Tracer.externalSpan({ traceId, spanId: "00f067aa0ba902b7", sampled: false })

/** How many jobs of the model have been counted. */
const counted = Effect.map(
  Metric.snapshot,
  (pairs) =>
    pairs.reduce(
      (sum, { metricKey: { name, tags }, metricState }) =>
        name === "effect_queue_status_job_outcomes" && tags.some(({ value }) => value === model) &&
          MetricState.isCounterState(metricState)
          ? sum + Number(metricState.count)
          : sum,
      0
    )
)

/** Watches a job to its end. Returns the `traceparent` of its submit, and how many jobs the metrics have counted. */
const watched = Effect.gen(function*() {
  const before = yield* counted
  const job = yield* Effect.provide(JobQueue.submit({ model, payload: {} }), JobTelemetry.propagation)
  const { info } = yield* JobQueue.status(job)
  yield* Stream.runDrain(JobStream.transitions(job, everySecond))
  return { traceparent: info["traceparent"], jobs: (yield* counted) - before }
}).pipe(
  Effect.provide(JobTelemetry.layer),
  VirtualTime.run,
  Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } }))
)

/** Runs a program with OpenTelemetry's SDK, and returns the names of the spans that are exported as well. */
const sampledBy = <A, E>(sampler: Sampler, program: Effect.Effect<A, E>) =>
  Effect.suspend(() => {
    const exporter = new InMemorySpanExporter()
    let names: Array<string> = []
    const sdk = NodeSdk.layer(() => ({
      resource: { serviceName: "test" },
      tracerConfig: { sampler },
      spanProcessor: new SimpleSpanProcessor(exporter)
    }))
    const noted = Effect.ensuring(
      program,
      Effect.sync(() => names = exporter.getFinishedSpans().map(({ name }) => name))
    )
    return Effect.map(Effect.provide(noted, sdk), (result) => ({ result, names }))
  })

const ofJob = ["job", "queued", "attempt 1"]

const inOrder = Effect.withSpan(watched, "order")

describe("a sampler that keeps a trace", () => {
  it.live("exports all spans of a job", () =>
    Effect.gen(function*() {
      const { names, result } = yield* sampledBy(new AlwaysOnSampler(), inOrder)
      assert.includeMembers(names, ["order", ...ofJob])
      assert.match(String(result.traceparent), /-01$/)
      assert.strictEqual(result.jobs, 1)
    }))
})

describe("a sampler that drops a trace", () => {
  const samplers: ReadonlyArray<readonly [string, Sampler]> = [
    ["always", new AlwaysOffSampler()],
    ["by its ratio", new TraceIdRatioBasedSampler(0)],
    ["by the root", new ParentBasedSampler({ root: new AlwaysOffSampler() })]
  ]
  for (const [how, sampler] of samplers) {
    it.live(`${how}: nothing is exported, the metrics count, and the submit is marked as not sampled`, () =>
      Effect.gen(function*() {
        const { names, result } = yield* sampledBy(sampler, inOrder)
        assert.deepStrictEqual(names, [])
        assert.match(String(result.traceparent), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
        assert.strictEqual(result.jobs, 1)
        assert.deepStrictEqual((yield* sampledBy(sampler, watched)).names, [])
      }))
  }
})

describe("a parent span that is not sampled", () => {
  it.live("has no spans below it, though the sampler would keep those", () =>
    Effect.gen(function*() {
      const butJobs: Sampler = {
        shouldSample: (_context, _traceId, name) => ({
          decision: name === "job" ? SamplingDecision.NOT_RECORD : SamplingDecision.RECORD_AND_SAMPLED
        })
      }
      const { names } = yield* sampledBy(butJobs, inOrder)
      assert.include(names, "order")
      assert.deepStrictEqual(names.filter((name) => ofJob.includes(name)), [])
    }))

  it.live("has no spans of jobs below it if it is of another process", () =>
    Effect.gen(function*() {
      const { names, result } = yield* sampledBy(new AlwaysOnSampler(), Effect.withParentSpan(watched, unsampled))
      assert.deepStrictEqual(names.filter((name) => ofJob.includes(name)), [])
      assert.strictEqual(result.traceparent, `00-${traceId}-${unsampled.spanId}-00`)
      assert.strictEqual(result.jobs, 1)
    }))

  it.scopedLive("sends none to a collector", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* Receiver.start
      const exporting = Otlp.layerJson({ baseUrl: url, resource: { serviceName: "test" } }).pipe(
        Layer.provide(NodeHttpClient.layerUndici)
      )
      yield* Effect.provide(Effect.zipRight(Effect.withParentSpan(watched, unsampled), inOrder), exporting)
      const jobs = spans.filter((span) => Receiver.attributesOf(span)["messaging.message.id"] !== undefined)
      assert.sameMembers(jobs.map(({ name }) => name), ofJob)
      assert.isTrue(jobs.every((span) => span.traceId !== traceId))
    }))
})
