/**
 * The traces of jobs, as a collector receives them from `@effect/opentelemetry`.
 */
import * as Otlp from "@effect/opentelemetry/Otlp"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import type { Duration } from "effect"
import { Effect, Layer, Option, Stream, Tracer } from "effect"
import type { JobWatcher } from "effect-queue-status"
import { JobQueue, JobStream, JobTelemetry, Transition } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { startProgram } from "../fixtures/command.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { model } from "../fixtures/job.js"
import * as Receiver from "../fixtures/otlpReceiver.js"
import { everySecond, submit } from "../fixtures/watching.js"

/** Runs a program that watches jobs and exports traces; all are exported when it ends. */
const run = <A, E>(
  url: string,
  program: Effect.Effect<A, E, JobQueue.JobQueue | JobWatcher.JobWatcher>,
  shutdownTimeout: Duration.DurationInput = "3 seconds"
) =>
  program.pipe(
    Effect.provide(JobTelemetry.layer),
    VirtualTime.run,
    Effect.provide(
      Otlp.layerJson({ baseUrl: url, resource: { serviceName: "test" }, shutdownTimeout }).pipe(
        Layer.provide(NodeHttpClient.layerUndici)
      )
    )
  )

/** The spans below a span as lines, by their start: times in seconds since that of the job. */
const treeOf = (spans: ReadonlyArray<Receiver.OtlpSpan>, root = "order"): ReadonlyArray<string> => {
  const order = spans.find(({ name }) => name === root)!
  const zero = BigInt(spans.find(({ name }) => name === "job")!.startTimeUnixNano)
  const seconds = (time: string) => Number(BigInt(time) - zero) / 1e9
  const below = (parent: string, indent: string): ReadonlyArray<string> =>
    spans.filter(({ parentSpanId }) => parentSpanId === parent)
      .filter((span) => Receiver.attributesOf(span)["messaging.message.id"] !== undefined)
      .flatMap((span) => {
        const { "error.type": error, "queue.open_phase": phase, "queue.resumed": resumed } = Receiver.attributesOf(span)
        const { endTimeUnixNano, events, name, spanId, startTimeUnixNano, status } = span
        return [
          [
            `${indent}${name} ${seconds(startTimeUnixNano)}-${seconds(endTimeUnixNano)}`,
            ...events.filter(({ name }) => name === "progress").map((event) =>
              `${Receiver.attributesOf(event)["queue.progress"]} at ${seconds(event.timeUnixNano)}`
            ),
            ...resumed === undefined ? [] : ["resumed"],
            ...phase === undefined ? [] : [`open: ${phase}`],
            // 2 is the status of an error
            ...status.code === 2 ? [`${error}: ${status.message}`] : []
          ].join(", "),
          ...below(spanId, `${indent}  `)
        ]
      })
  return below(order.spanId, "")
}

const pickup = "1500 millis"

const watch = (job: Parameters<typeof JobStream.transitions>[0]) =>
  Stream.runDrain(JobStream.transitions(job, everySecond))

describe("a collector receives one trace", () => {
  const cases: ReadonlyArray<readonly [string, Worker.Pool, ReadonlyArray<string>]> = [
    ["of a job that is done", {
      pickup,
      script: Worker.always(Worker.progress("2 seconds", 0.5), Worker.finish("1200 millis"))
    }, ["job 0-4.7", "  queued 0-1.5", "  attempt 1 1.5-4.7, 0.5 at 4"]],
    ["of a job that lost its worker once", {
      pickup,
      claimTimeout: "5 seconds",
      script: Worker.attempts([Worker.stopResponding], [Worker.finish("2 seconds")])
    }, [
      "job 0-10",
      "  queued 0-1.5",
      "  attempt 1 1.5-7, WorkerLost: the worker was lost",
      "  requeued 7-8",
      "  attempt 2 8-10"
    ]],
    ["of a job that has no retries left", {
      pickup,
      claimTimeout: "5 seconds",
      script: Worker.always(Worker.stopResponding)
    }, [
      "job 0-26, RetriesExhausted: the worker of the last attempt was lost",
      "  queued 0-1.5",
      "  attempt 1 1.5-7, WorkerLost: the worker was lost",
      "  requeued 7-8",
      "  attempt 2 8-13, WorkerLost: the worker was lost",
      "  requeued 13-14.5",
      "  attempt 3 14.5-20, WorkerLost: the worker was lost",
      "  requeued 20-21",
      "  attempt 4 21-26, WorkerLost: the worker was lost"
    ]],
    ["of a job that its model fails", {
      pickup,
      script: Worker.always(Worker.fail("1 second", "out of memory"))
    }, [
      "job 0-2.5, FailedByModel: out of memory",
      "  queued 0-1.5",
      "  attempt 1 1.5-2.5, FailedByModel: out of memory"
    ]]
  ]
  for (const [what, workers, tree] of cases) {
    it.scopedLive(what, () =>
      Effect.gen(function*() {
        const { spans, url } = yield* Receiver.start
        yield* run(url, Effect.withSpan(Effect.flatMap(submit, watch), "order")).pipe(
          Effect.provide(TestJobQueue.layer({ workers }))
        )
        assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 1)
        assert.deepStrictEqual(treeOf(spans), tree)
        for (const span of spans.filter(({ name }) => name === "job")) {
          assert.strictEqual(Receiver.attributesOf(span)["messaging.destination.name"], model)
        }
      }))
  }

  it.scopedLive("of a job that is canceled", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* Receiver.start
      const program = Effect.gen(function*() {
        const job = yield* submit
        yield* Effect.fork(Effect.delay(JobQueue.cancel(job), "2500 millis"))
        yield* watch(job)
      })
      yield* Effect.provide(run(url, Effect.withSpan(program, "order")), TestJobQueue.layer())
      assert.deepStrictEqual(treeOf(spans), ["job 0-3", "  queued 0-3"])
    }))

  it.scopedLive("or none, and then no watch waits for it", () =>
    Effect.gen(function*() {
      const collector = yield* HostileServer.make(HostileServer.silence)
      let seen: ReadonlyArray<string> = []
      yield* run(
        collector.url,
        Effect.gen(function*() {
          const transitions = yield* Stream.runCollect(JobStream.transitions(yield* submit, everySecond))
          seen = Array.from(transitions, ({ _tag }) => _tag)
        }),
        "100 millis"
      ).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } })))
      assert.deepStrictEqual(seen, ["Queued", "Claimed", "Completed"])
    }))

  it.scopedLive("of a job that another program has submitted, with a link to that submit", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* Receiver.start
      yield* Effect.gen(function*() {
        const job = yield* run(
          url,
          Effect.withSpan(submit, "the submitter").pipe(Effect.provide(JobTelemetry.propagation))
        )
        yield* run(url, Effect.withSpan(watch(job), "the watcher"))
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } })))
      const [job, submitter, watcher] = ["job", "the submitter", "the watcher"].map((name) =>
        spans.find((span) => span.name === name)!
      )
      assert.strictEqual(job!.traceId, watcher!.traceId)
      assert.notStrictEqual(job!.traceId, submitter!.traceId)
      assert.deepStrictEqual(job!.links!.map(({ spanId, traceId }) => [traceId, spanId]), [
        [submitter!.traceId, submitter!.spanId]
      ])
    }))

  it.scopedLive("of a job that another program continues to watch, from the cursor and the span", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* Receiver.start
      // what the first program stores, as text
      const stored: { cursor?: string; span?: { readonly traceId: string; readonly spanId: string } } = {}
      const first = Effect.gen(function*() {
        const job = yield* submit
        const { spanId, traceId } = yield* Effect.currentSpan
        stored.span = { spanId, traceId }
        yield* JobStream.transitions(job, everySecond).pipe(
          Stream.runForEach(({ cursor }) => Effect.sync(() => stored.cursor = Transition.formatCursor(cursor))),
          Effect.timeoutOption("8500 millis")
        )
        return job
      })
      yield* Effect.gen(function*() {
        const job = yield* run(url, Effect.withSpan(first, "order"))
        const from = yield* Transition.parseCursor(stored.cursor!)
        yield* run(
          url,
          Effect.withParentSpan(
            Stream.runDrain(JobStream.transitions(job, { ...everySecond, from })),
            Tracer.externalSpan(stored.span!)
          )
        )
      }).pipe(Effect.provide(TestJobQueue.layer({
        workers: {
          pickup,
          claimTimeout: "5 seconds",
          script: Worker.attempts([Worker.stopResponding], [Worker.finish("5 seconds")])
        }
      })))
      assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 1)
      assert.deepStrictEqual(treeOf(spans), [
        "job 0-8.5, open: attempt 2",
        "  queued 0-1.5",
        "  attempt 1 1.5-7, WorkerLost: the worker was lost",
        "  requeued 7-8",
        "job 0-13, resumed",
        "  attempt 2 8-13, resumed"
      ])
    }))
})

describe("the recipe of the guide", () => {
  it.scopedLive("sends the trace of its job to a collector", () =>
    Effect.gen(function*() {
      const { spans, url } = yield* Receiver.start
      const recipe = yield* startProgram("docs/examples/telemetryOtlp", "", { OTEL_EXPORTER_OTLP_ENDPOINT: url })
      const { code, stderr, stdout } = yield* recipe.exited
      assert.deepStrictEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: "https://example.com/cat.mp4\n" })
      const order = spans.find(({ name }) => name === "make a film")
      const job = spans.find(({ name }) => name === "job")
      assert.strictEqual(job?.traceId, order?.traceId)
      assert.deepStrictEqual(
        spans.filter(({ parentSpanId }) => parentSpanId === job?.spanId).map(({ name }) => name),
        ["queued", "attempt 1"]
      )
      assert(Option.isSome(Option.fromNullable(order)))
    }))
})
