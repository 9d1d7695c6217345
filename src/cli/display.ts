/**
 * What the demo shows: live rows on a terminal, JSON lines in a pipe, and a table at the end.
 *
 * @internal
 */
import type { PlatformError } from "@effect/platform/Error"
import * as Terminal from "@effect/platform/Terminal"
import * as Ansi from "@effect/printer-ansi/Ansi"
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import * as Doc from "@effect/printer/Doc"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { JobRef } from "../Job.js"
import * as JobSummary from "../JobSummary.js"
import * as Transition from "../Transition.js"

/**
 * - `watching`: a job that will have a row.
 * - `show`: a transition has come.
 * - `end`: everything is over; the table. `polls` is how often each job, by request id, was polled.
 *
 * @internal
 */
export interface Display {
  readonly watching: (name: string, job: JobRef) => Effect.Effect<void>
  readonly show: (name: string, transition: Transition.Transition) => Effect.Effect<void, PlatformError>
  readonly end: (polls: (job: JobRef) => number) => Effect.Effect<void, PlatformError>
}

interface Row {
  readonly name: string
  readonly summary: JobSummary.JobSummary
  readonly startedAt: number
  readonly endedAt: number | undefined
}

const encode = Schema.encode(Schema.parseJson(Transition.Transition))

const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

const render = (doc: AnsiDoc.AnsiDoc): string => AnsiDoc.render(doc, { style: "pretty" })

const colored = (text: string, color: Ansi.Ansi): string => render(Doc.annotate(Doc.text(text), color))

const colors: { readonly [state: string]: Ansi.Ansi } = {
  Completed: Ansi.green,
  FailedByModel: Ansi.red,
  RetriesExhausted: Ansi.red,
  Canceled: Ansi.yellow,
  Unrecognized: Ansi.magenta,
  running: Ansi.cyan,
  queued: Ansi.blackBright
}

const stateOf = ({ attempts, outcome }: JobSummary.JobSummary): string =>
  Option.getOrElse(outcome, () => {
    const last = attempts.at(-1)
    return last !== undefined && Option.isNone(last.end) ? "running" : "queued"
  })

const barWidth = 16

const bar = (summary: JobSummary.JobSummary): string => {
  const fraction = Option.contains(summary.outcome, "Completed") ? 1 : Option.getOrElse(summary.progress, () => 0)
  const filled = Math.round(Math.max(0, Math.min(1, fraction)) * barWidth)
  return `${"█".repeat(filled)}${"░".repeat(barWidth - filled)} ${`${Math.round(fraction * 100)} %`.padStart(5)}`
}

const liveRow = (row: Row, now: number, columns: number): string => {
  const state = stateOf(row.summary)
  const attempt = row.summary.attempts.length
  const text = `${row.name.padEnd(20)} ${bar(row.summary)}  ${state.padEnd(14)} ${
    (attempt === 0 ? "" : `attempt ${attempt}`).padEnd(10)
  } ${seconds((row.endedAt ?? now) - row.startedAt).padStart(7)}`
  // a row that wraps can't be erased as one
  return colored(text.slice(0, Math.max(1, columns - 1)), colors[state] ?? Ansi.white)
}

const details = (transition: Transition.Transition): string => {
  switch (transition._tag) {
    case "Queued":
    case "Canceled":
      return ""
    case "Claimed":
    case "RetriesExhausted":
    case "Unrecognized":
      return `attempt ${transition.attempt}`
    case "Progressed":
      return Option.match(transition.progress, {
        onNone: () => JSON.stringify(transition.changed),
        onSome: (progress) => `${Math.round(progress * 100)} %`
      })
    case "Requeued":
      return `attempt ${transition.attempt} lost its worker, ${transition.retriesLeft} retries left`
    case "Completed":
      return JSON.stringify(transition.outputs)
    case "FailedByModel":
      return Option.getOrElse(transition.reason, () => "no reason given")
  }
}

const logLine = (name: string, transition: Transition.Transition, columns: number): string => {
  const inferred = transition.evidence === "inferred" ? " (inferred)" : ""
  return `${name.padEnd(20)} ${(transition._tag + inferred).padEnd(20)} ${details(transition)}`.slice(
    0,
    Math.max(1, columns - 1)
  )
}

const table = (rows: ReadonlyArray<Row>, polls: (job: JobRef) => number): string => {
  const about = (summary: JobSummary.JobSummary, duration: Duration.Duration) =>
    `${summary.exact ? "" : "~"}${seconds(Duration.toMillis(duration))}`
  const lines = [
    ["job", "outcome", "transitions", "attempts", "polls", "time in queue", "time running"],
    ...rows.map(({ name, summary }) => [
      name,
      Option.getOrElse(summary.outcome, () => "-"),
      String(summary.transitions),
      String(summary.attempts.length),
      String(polls(summary.job)),
      about(summary, summary.inQueue),
      about(summary, summary.running)
    ])
  ]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  const text = lines.map((line) =>
    line.map((cell, i) => i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)).join("  ").trimEnd()
  )
  const note = rows.some(({ summary }) => !summary.exact)
    ? ["~ where the service told no time, it is taken from when the step was seen"]
    : []
  return ["", ...text, ...note, ""].join("\n")
}

/**
 * Rows and a log for people, or JSON lines for programs, whatever the output is.
 *
 * @internal
 */
export const make: Effect.Effect<Display, PlatformError, Terminal.Terminal | Scope.Scope> = Effect.gen(function*() {
  const terminal = yield* Terminal.Terminal
  const isTTY = yield* terminal.isTTY
  // a terminal may not say how wide it is
  const width = Effect.map(terminal.columns, (columns) => columns > 0 ? columns : 80)
  const rows = new Map<string, Row>()
  let drawn = 0

  const draw = (log?: string) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const columns = yield* width
      const lines = Array.from(rows.values(), (row) => liveRow(row, now, columns))
      const erase = drawn === 0 ? "" : render(AnsiDoc.eraseLines(drawn + 1))
      drawn = lines.length
      yield* terminal.display(erase + [...(log === undefined ? [] : [log]), ...lines, ""].join("\n"))
    })

  if (isTTY) {
    yield* Effect.acquireRelease(
      terminal.display(render(AnsiDoc.cursorHide)),
      () => Effect.ignore(terminal.display(render(AnsiDoc.cursorShow)))
    )
    yield* Effect.forkScoped(Effect.repeat(Effect.suspend(() => draw()), Schedule.spaced("100 millis")))
  }

  return {
    watching: (name, job) =>
      Effect.map(Clock.currentTimeMillis, (startedAt) => {
        rows.set(name, { name, summary: JobSummary.empty(job), startedAt, endedAt: undefined })
      }),
    show: (name, transition) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const row = rows.get(name)
        if (row !== undefined) {
          rows.set(name, {
            ...row,
            summary: JobSummary.add(row.summary, transition),
            endedAt: Transition.isTerminal(transition) ? now : undefined
          })
        }
        yield* isTTY
          ? draw(logLine(name, transition, yield* width))
          : Effect.flatMap(Effect.orDie(encode(transition)), (json) => terminal.display(`${json}\n`))
      }),
    end: (polls) => {
      const text = table(Array.from(rows.values()), polls)
      // in a pipe, standard output is for the lines alone
      return isTTY ? Effect.zipRight(draw(), terminal.display(`${text}\n`)) : Console.error(text)
    }
  }
})
