import { Console, Effect, Tracer } from "effect"
import { JobRun, JobTelemetry } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

/** Runs a job. The layer adds its trace and its metrics. */
const observed = JobRun.run(
  { model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } },
  { cadence: "1 second" }
).pipe(Effect.provide(JobTelemetry.layer))

/** A tracer that adds its spans to a list. A program has the tracer of `@effect/opentelemetry` instead. */
const listing = (spans: Array<Tracer.Span>, { context, span }: Tracer.Tracer): Tracer.Tracer =>
  Tracer.make({
    context,
    span: (...args) => {
      const made = span(...args)
      spans.push(made)
      return made
    }
  })

const lineOf = ({ attributes, name, status }: Tracer.Span, zero: bigint): string => {
  const seconds = (time: bigint) => (Number(time - zero) / 1e9).toFixed(1).padStart(4)
  const end = status._tag === "Ended" ? status.endTime : status.startTime
  const error = attributes.has("error.type") ? `  ${attributes.get("error.type")}` : ""
  return `${name.padEnd(9)} ${seconds(status.startTime)} s to ${seconds(end)} s${error}`
}

export const program = Effect.gen(function*() {
  const spans: Array<Tracer.Span> = []
  yield* Effect.withTracer(observed, listing(spans, yield* Effect.tracer))
  const [job, ...phases] = spans.filter(({ attributes }) => attributes.has("messaging.message.id"))
  if (job === undefined) return
  for (const span of [job, ...phases]) yield* Console.log(lineOf(span, job.status.startTime))
})

/** The first worker stops responding. The second one finishes the job. */
export const workers: Worker.Pool = {
  pickup: "1500 millis",
  claimTimeout: "5 seconds",
  script: Worker.attempts(
    [Worker.progress("1 second", 0.2), Worker.stopResponding],
    [Worker.progress("1 second", 0.5), Worker.finish("2 seconds")]
  )
}

ifStarted(import.meta.url, program, workers)
