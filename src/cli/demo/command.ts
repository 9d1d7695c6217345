// `queue-status demo`: jobs in a queue on this machine, over HTTP.
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import cliTruncate from "cli-truncate"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Cadence from "../../policy/Cadence.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import * as JobQueue from "../../queue/JobQueue.js"
import * as JobStream from "../../watch/JobStream.js"
import * as JobWatcher from "../../watch/JobWatcher.js"
import { json, optional, positiveCount, utc } from "../options.js"
import * as Serve from "../serve/command.js"
import { columns, print } from "../terminal.js"
import { padded, widthOf } from "../text.js"
import * as Display from "../watch/display.js"
import type { View } from "../watch/jobView.js"
import { manyJobs } from "./manyJobs.js"
import * as Scenario from "./scenario.js"

const policy = { cadence: Cadence.exponential({ base: "400 millis", factor: 1.2, cap: "1 second" }) }

const watchAll = (display: Display.Display) =>
  Stream.fromIterable(Scenario.jobs).pipe(
    Stream.mapEffect(({ cancel, name, ...request }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit(request)
        yield* display.watching(job, { name })
        if (cancel) yield* forkScoped(Effect.delay(JobQueue.cancel(job), "1 second"))
        return job
      })
    ),
    Stream.flatMap((job) => JobStream.events(job, policy), { concurrency: "unbounded" }),
    Stream.runForEach(display.show)
  )

const header = ["job", "outcome", "steps", "attempts", "in queue", "running"]

/** The outcome of each job, in rows of at most so many columns. */
export const table = (views: ReadonlyArray<View>, columns: number): string => {
  const cells = [
    header,
    ...views.map(({ name, summary: { attempts, exact, inQueue, outcome, running, transitions } }) => [
      name,
      Option.getOrElse(outcome, () => "-"),
      String(transitions),
      String(attempts.length),
      ...[inQueue, running].map((time) => `${exact ? "" : "~"}${Duration.toSeconds(time).toFixed(1)} s`)
    ])
  ]
  const widths = header.map((_, i) => Math.max(...cells.map((row) => widthOf(row[i]!))))
  const rows = cells.map((row) =>
    row.map((cell, i) => i < 2 ? padded(cell, widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd()
  )
  const isExact = views.every(({ summary }) => summary.exact)
  const lines = isExact ? rows : [...rows, "~ by the time of a poll, not reported by the service"]
  return ["", ...lines.map((line) => cliTruncate(line, columns)), ""].join("\n")
}

const demo = (options: { readonly json: boolean; readonly utc: boolean }) =>
  Effect.gen(function*() {
    // rows that are redrawn after the table would erase it
    const { isLive, views } = yield* Effect.scoped(Effect.gen(function*() {
      const display = yield* Display.make(options)
      yield* watchAll(display)
      yield* display.finish
      return { isLive: display.isLive, views: yield* display.views }
    }))
    const text = table(views, isLive ? yield* columns : Infinity)
    // in a pipe, standard output has the events only
    yield* isLive ? print(text) : Console.error(text)
  })

const jobs = positiveCount("jobs").pipe(
  Options.withDescription("submits this many short jobs instead, watched as one stream"),
  optional
)

const board = Options.boolean("board").pipe(
  Options.withDescription("submits jobs until it is stopped, and shows them on a page, as `serve --emulate` does")
)

/** The command for any queue. */
export const withAnyQueue = Command.make(
  "demo",
  { board, jobs, json, utc },
  ({ board, jobs, ...options }) => {
    if (board) return Serve.serve({ ...options, host: "127.0.0.1", port: 0, token: undefined, isSimulated: true })
    return jobs === undefined ? demo(options) : manyJobs(jobs, options)
  }
).pipe(Command.withDescription(
  "Submits jobs to a queue on this machine, over HTTP, and shows them as `watch` does. It takes seven seconds."
))

// the queue is on this machine, and bears more polls than a service would
const Queue = JobWatcher.layer({ pollsPerSecond: 400 }).pipe(
  Layer.provideMerge(Serve.emulatedQueue({ workers: Scenario.pools }))
)

export const command = Command.provide(withAnyQueue, ({ board }): typeof Queue => board ? Serve.EmulatedQueue : Queue)
