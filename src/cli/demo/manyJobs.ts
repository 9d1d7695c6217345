// The demo with many jobs, watched as one stream.
import type * as Terminal from "@effect/platform/Terminal"
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import cliTruncate from "cli-truncate"
import * as Array from "effect/Array"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Transition from "../../model/Transition.js"
import * as Cadence from "../../policy/Cadence.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import * as JobQueue from "../../queue/JobQueue.js"
import * as Metrics from "../../watch/internal/metrics.js"
import * as JobStream from "../../watch/JobStream.js"
import type * as Exit from "../exit.js"
import * as Output from "../terminal.js"
import { toJson } from "../watch/events.js"
import { render } from "../watch/rows.js"
import * as Scenario from "./scenario.js"

const policy = { cadence: Cadence.exponential({ base: "500 millis", factor: 1.5, cap: "2 seconds" }) }

const submitted = (count: number) =>
  Stream.range(1, count).pipe(
    Stream.mapEffect((nth) => JobQueue.submit({ model: Scenario.manyModel, payload: { nth } }), { concurrency: 8 })
  )

const counted = (name: string, count: number): string => `${count.toLocaleString("en")} ${name}`

export const manyJobs = (count: number, { json }: { readonly json: boolean }) =>
  Effect.gen(function*() {
    const isLive = !json && (yield* Output.isLive)
    const latest = new Map<string, Transition.Transition>()

    const progress = Effect.flatMap(Output.columns, (columns) => {
      const steps = Array.fromIterable(latest.values())
      const ended = steps.filter(Transition.isTerminal).length
      const waiting = steps.filter(({ _tag }) => _tag === "Queued" || _tag === "Requeued").length
      const running = steps.length - ended - waiting
      const text = `${ended} of ${count} jobs ended, ${running} running, ${waiting} seen waiting`
      return Output.write(`\r${render(AnsiDoc.eraseLine)}${cliTruncate(text, columns)}`)
    })
    const redraw = isLive ? forkScoped(Effect.repeat(progress, Schedule.spaced("100 millis"))) : Effect.void

    const watched = JobStream.watchAll(submitted(count), policy).pipe(
      Stream.runForEach((step): Effect.Effect<void, Exit.Failure, Terminal.Terminal> => {
        if (step._tag === "WatchFailed") return Effect.fail(step.error)
        latest.set(step.job.requestId, step)
        return json ? Effect.flatMap(toJson(step), Output.print) : Effect.void
      })
    )
    const [took] = yield* Effect.timed(Effect.scoped(Effect.zipRight(redraw, watched)))

    const seconds = Duration.toSeconds(took)
    const ofModel = Metrics.ofModel(Scenario.manyModel, [])
    const [polls, byOrder] = yield* Effect.all([Metric.value(ofModel.polls), Metric.value(ofModel.savedByOrder)])
    const lines = [
      `${counted("jobs", count)} ended in ${Duration.format(Duration.seconds(Math.round(seconds)))}`,
      ...Object.entries(Array.groupBy(latest.values(), ({ _tag }) => _tag)).map(([outcome, jobs]) =>
        `  ${counted(outcome, jobs.length)}`
      ),
      `${counted("polls", polls.count)}, ${(polls.count / count).toFixed(1)} a job, ${
        (polls.count / seconds).toFixed(0)
      } a second`,
      counted("polls saved, because the job was behind others in the queue", byOrder.count)
    ]
    if (isLive) yield* Output.write(`\r${render(AnsiDoc.eraseLine)}`)
    // with --json, standard output has the events only
    yield* json ? Console.error(lines.join("\n")) : Output.print(lines.join("\n"))
  })
