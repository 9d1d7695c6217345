// Where a watch is shown: live rows on a terminal, lines of text in a pipe, or lines of JSON.
import * as Terminal from "@effect/platform/Terminal"
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { format, type JobRef } from "../../model/Job.js"
import type { Cursor } from "../../model/Transition.js"
import * as LearnedCadence from "../../policy/LearnedCadence.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import { clockAheadOf } from "../../queue/internal/hidden.js"
import { JobWatcher } from "../../watch/JobWatcher.js"
import type * as Exit from "../exit.js"
import * as Output from "../terminal.js"
import { inShort, printable, shortNameOf } from "../text.js"
import { type Event, line, localTime, toJson, utcTime } from "./events.js"
import * as View from "./jobView.js"
import { render, screen } from "./rows.js"

export interface Display {
  /** Whether there are rows. */
  readonly isLive: boolean
  /** Adds a job, with the name that its row has, and the cursor from which it is watched. */
  readonly watching: (
    job: JobRef,
    options?: { readonly name?: string | undefined; readonly from?: Cursor | undefined }
  ) => Effect.Effect<void>
  /** Shows an event of a job that was added. */
  readonly show: (event: Event) => Effect.Effect<void, Exit.ExitWith, Terminal.Terminal>
  /** What is known of each job, in the order in which they were added. */
  readonly views: Effect.Effect<ReadonlyArray<View.View>>
  /** Draws the rows for the last time. */
  readonly finish: Effect.Effect<void, Exit.ExitWith, Terminal.Terminal>
}

const escape = "\u001b"

// A row that wraps can't be erased as one. The terminal may have become narrower since its width was read.
const unwrapped = (text: string): string => `${escape}[?7l${text}${escape}[?7h`

export const make = (options: {
  readonly json: boolean
  readonly utc: boolean
}): Effect.Effect<Display, Exit.ExitWith, JobWatcher | Terminal.Terminal | Scope.Scope> =>
  Effect.gen(function*() {
    const isLive = !options.json && (yield* Output.isLive)
    const isColored = yield* Output.isColored
    const clock = options.utc ? utcTime : localTime
    const clockAhead = clockAheadOf(yield* JobWatcher)
    const views = new Map<string, View.View>()
    let drawn = 0

    const draw = (log: ReadonlyArray<string>) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        // some terminals do not report their height
        const height = (yield* (yield* Terminal.Terminal).rows) || 24
        const rows = screen(Array.from(views.values()), now, {
          ahead: clockAhead(),
          columns: yield* Output.columns,
          isColored,
          // room for the line of the cursor, and for the next event
          most: Math.max(2, height - 2)
        })
        const erase = drawn === 0 ? "" : render(AnsiDoc.eraseLines(drawn + 1))
        drawn = rows.length
        const lines = log.map((line) => `${line}\n`).join("")
        yield* Output.write(erase + lines + unwrapped([...rows, ""].join("\n")))
      })

    if (isLive) {
      yield* Effect.acquireRelease(
        Output.write(render(AnsiDoc.cursorHide)),
        () => Effect.ignore(Output.write(render(AnsiDoc.cursorShow)))
      )
      yield* forkScoped(Effect.repeat(Effect.suspend(() => draw([])), Schedule.spaced("100 millis")))
    }

    const eta = yield* LearnedCadence.estimates
    // not for what only moves the bar, nor for the same trouble again
    const isWorthALine = (event: Event, { trouble }: View.View): boolean =>
      event._tag === "Progressed"
        ? !isLive || Object.keys(event.changed).some((key) => key !== "progress")
        : event._tag !== "Trouble" || trouble === undefined || inShort(trouble.error) !== inShort(event.error)

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
          const before = views.get(key)! // added by `watching`
          const view = View.add(before, event)
          const expectedEnd = isLive && "snapshot" in event
            ? yield* LearnedCadence.expectedEnd(eta, event.snapshot, clockAhead())
            : view.expectedEnd
          views.set(key, { ...view, expectedEnd })
          if (options.json) return yield* Output.print(yield* toJson(event))
          const lines = isWorthALine(event, before) ? [line(before.name, event, now, clock)] : []
          if (isLive) return yield* draw(lines)
          yield* Effect.forEach(lines, Output.print, { discard: true })
        }),
      views: Effect.sync(() => Array.from(views.values())),
      finish: Effect.suspend(() => isLive ? draw([]) : Effect.void)
    }
  })
