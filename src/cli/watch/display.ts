/**
 * Where a watch is shown: live rows on a terminal, lines of text in a pipe, lines of JSON where they are asked for.
 *
 * @internal
 */
import * as Terminal from "@effect/platform/Terminal"
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { JobRef } from "../../model/Job.js"
import { format } from "../../model/Job.js"
import type { Cursor } from "../../model/Transition.js"
import { LearnedCadence } from "../../policy/LearnedCadence.js"
import type * as Exit from "../exit.js"
import { shortNameOf } from "../names.js"
import * as Output from "../output.js"
import { inShort, printable } from "../text.js"
import { toJson } from "./eventJson.js"
import type { Event } from "./eventJson.js"
import * as View from "./jobView.js"
import { line, render, screen } from "./rows.js"
import * as ServerClock from "./serverClock.js"

/**
 * - `isLive`: whether there are rows.
 * - `watching`: a job is going to be watched, from a cursor on where there is one; by a name of its own, where it has one.
 * - `show`: something has happened.
 * - `views`: what is known of each job, in the order in which they came.
 * - `finish`: nothing more will happen.
 *
 * @internal
 */
export interface Display {
  readonly isLive: boolean
  readonly watching: (
    job: JobRef,
    options?: { readonly name?: string | undefined; readonly from?: Option.Option<Cursor> | undefined }
  ) => Effect.Effect<void>
  readonly show: (event: Event) => Effect.Effect<void, Exit.ExitWith>
  readonly views: Effect.Effect<ReadonlyArray<View.View>>
  readonly finish: Effect.Effect<void, Exit.ExitWith>
}

const escape = "\u001b"

// A row that wraps can't be erased as one: none does, also if the terminal has become narrower since its width was read.
const unwrapped = (text: string): string => `${escape}[?7l${text}${escape}[?7h`

const isSet = (name: string) =>
  Config.string(name).pipe(
    Config.withDefault(""),
    Config.map((value) => value !== ""),
    Effect.orElseSucceed(() => false)
  )

const isDumb = Config.string("TERM").pipe(
  Config.map((term) => term === "dumb"),
  Effect.orElseSucceed(() => false)
)

/** @internal */
export const make = (options: {
  readonly json: boolean
}): Effect.Effect<Display, Exit.ExitWith, Terminal.Terminal | Scope.Scope> =>
  Effect.gen(function*() {
    const terminal = yield* Terminal.Terminal
    const write = (text: string) => Effect.provideService(Output.write(text), Terminal.Terminal, terminal)
    const isLive = !options.json && (yield* terminal.isTTY) && !(yield* isDumb)
    const isColored = !(yield* isSet("NO_COLOR"))
    // a terminal may not say how high it is; and there are the line of the cursor, and one for what comes
    const most = Effect.map(terminal.rows, (rows) => Math.max(2, (rows > 0 ? rows : 24) - 2))
    // nor how wide
    const columns = Effect.map(terminal.columns, (columns) => columns > 0 ? columns : Infinity)
    const serverClock = yield* ServerClock.make
    const views = new Map<string, View.View>()
    let drawn = 0

    const draw = (log: ReadonlyArray<string>) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        const rows = screen(Array.from(views.values()), now, {
          ahead: serverClock.ahead(),
          columns: yield* columns,
          isColored,
          most: yield* most
        })
        const erase = drawn === 0 ? "" : render(AnsiDoc.eraseLines(drawn + 1))
        drawn = rows.length
        const lines = log.map((line) => `${line}\n`).join("")
        yield* write(erase + lines + unwrapped([...rows, ""].join("\n")))
      })

    if (isLive) {
      yield* Effect.acquireRelease(
        write(render(AnsiDoc.cursorHide)),
        () => Effect.ignore(write(render(AnsiDoc.cursorShow)))
      )
      yield* Effect.forkScoped(Effect.repeat(Effect.suspend(() => draw([])), Schedule.spaced("100 millis")))
    }

    const learned = yield* Effect.serviceOption(LearnedCadence)
    const expectedEnd = (event: Event, now: number) =>
      !isLive || Option.isNone(learned) || !("snapshot" in event)
        ? Effect.succeed({})
        : Effect.map(learned.value.eta(event.snapshot), (eta) => ({
          expectedEnd: Option.map(eta, ({ median }) => now + Duration.toMillis(median))
        }))

    // there is no line of its own for what only moves the bar, nor for the same trouble again
    const isWorthALine = (event: Event, before: View.View | undefined): boolean =>
      event._tag === "Progressed"
        ? !isLive || Object.keys(event.changed).some((key) => key !== "progress")
        : event._tag !== "Trouble" || before === undefined ||
          !Option.exists(before.trouble, ({ error }) => inShort(error) === inShort(event.error))

    return {
      isLive,
      watching: (job, { from, name = isLive ? shortNameOf(job) : printable(format(job)) } = {}) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          views.set(format(job), View.make(name, job, now, from))
        }),
      show: (event) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const key = format(event.job)
          const view = views.get(key)
          if (view !== undefined) views.set(key, { ...View.add(view, event, now), ...(yield* expectedEnd(event, now)) })
          if (options.json) return yield* write(`${yield* toJson(event)}\n`)
          const lines = isWorthALine(event, view) ? [line(view?.name ?? key, event, now)] : []
          if (isLive) return yield* draw(lines)
          if (lines.length > 0) yield* write(`${lines.join("\n")}\n`)
        }),
      views: Effect.sync(() => Array.from(views.values())),
      finish: Effect.suspend(() => isLive ? draw([]) : Effect.void)
    }
  })
