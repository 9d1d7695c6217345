import { Terminal } from "@effect/platform"
import { Array, Effect, Ref, Schedule, Schema, Stream } from "effect"
import { Cadence, JobRun } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

const Thumbnail = Schema.Struct({ url: Schema.String })

/** 200 jobs, 8 at a time. One that fails does not fail the others; the result has the outcome of each. */
const thumbnails = Effect.gen(function*() {
  // at most ten resubmissions, shared by all runs
  const left = yield* Ref.make(10)
  const options: JobRun.RunOptions = {
    cadence: Cadence.fixed("300 millis"),
    resubmit: Schedule.recurs(2).pipe(
      Schedule.whileInputEffect(() => Ref.modify(left, (left) => [left > 0, Math.max(0, left - 1)]))
    )
  }
  return yield* Effect.forEach(
    Array.range(1, 200),
    (n) => Effect.either(JobRun.run({ model: "my-org/thumbnails", payload: { n } }, Thumbnail, options)),
    { concurrency: 8 }
  )
})

/** The number of jobs in each state. */
interface Progress {
  readonly queued: number
  readonly running: number
  readonly done: number
  readonly failed: number
}

const change: { readonly [event: string]: (progress: Progress) => Progress } = {
  Queued: (p) => ({ ...p, queued: p.queued + 1 }),
  Claimed: (p) => ({ ...p, queued: p.queued - 1, running: p.running + 1 }),
  Requeued: (p) => ({ ...p, queued: p.queued + 1, running: p.running - 1 }),
  Completed: (p) => ({ ...p, running: p.running - 1, done: p.done + 1 }),
  FailedByModel: (p) => ({ ...p, running: p.running - 1, failed: p.failed + 1 }),
  RetriesExhausted: (p) => ({ ...p, running: p.running - 1, failed: p.failed + 1 })
}

const start: Progress = { queued: 0, running: 0, done: 0, failed: 0 }

const draw = ({ done, failed, queued, running }: Progress) =>
  Effect.flatMap(
    Terminal.Terminal,
    (terminal) => terminal.display(`\r${queued} queued, ${running} running, ${done} done, ${failed} failed, of 200 `)
  )

export const program = JobRun.events(thumbnails).pipe(
  Stream.filterMap((event) => Array.findFirst([event], (event) => event._tag === "Observed")),
  Stream.scan(start, (progress, { event }) => change[event._tag]?.(progress) ?? progress),
  // at most ten times a second; the last state is always drawn
  Stream.buffer({ capacity: 2, strategy: "sliding" }),
  Stream.runForEach((progress) => Effect.zipRight(draw(progress), Effect.sleep("100 millis")))
)

export const workers: Worker.Pool = {
  workers: 8,
  script: Worker.weighted(
    [19, [Worker.finish(Worker.lognormal("500 millis"), { url: "https://example.com/thumbnail.png" })]],
    [1, [Worker.fail("200 millis", "the image is broken")]]
  )
}

ifStarted(import.meta.url, program, workers)
