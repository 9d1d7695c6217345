/**
 * Views as rows of a terminal, and events as lines.
 *
 * @internal
 */
import * as Ansi from "@effect/printer-ansi/Ansi"
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import * as Doc from "@effect/printer/Doc"
import cliTruncate from "cli-truncate"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import stringWidth from "string-width"
import { padded, printable } from "../text.js"
import type { Event } from "./eventJson.js"
import { describe, detailsOf, fractionOf, isOver, wordFor } from "./jobView.js"
import type { State, View } from "./jobView.js"

/** @internal */
export const render = (doc: AnsiDoc.AnsiDoc): string => AnsiDoc.render(doc, { style: "pretty" })

const colors: { readonly [state in State]: Ansi.Ansi } = {
  unseen: Ansi.blackBright,
  queued: Ansi.blackBright,
  running: Ansi.cyan,
  Completed: Ansi.green,
  FailedByModel: Ansi.red,
  RetriesExhausted: Ansi.red,
  Canceled: Ansi.yellow,
  Unrecognized: Ansi.magenta,
  WatchFailed: Ansi.magenta
}

const barWidth = 16

const bar = (view: View): string =>
  Option.match(fractionOf(view), {
    onNone: () => `${"░".repeat(barWidth)}      `,
    onSome: (fraction) => {
      const filled = Math.round(fraction * barWidth)
      return `${"█".repeat(filled)}${"░".repeat(barWidth - filled)} ${`${Math.round(fraction * 100)} %`.padStart(5)}`
    }
  })

const stateWidth = "canceled".length

const row = (
  view: View,
  now: number,
  nameWidth: number,
  { ahead, columns, isColored }: { readonly ahead: number; readonly columns: number; readonly isColored: boolean }
): string => {
  const text = `${padded(view.name, nameWidth)}  ${bar(view)}  ${wordFor[view.state].padEnd(stateWidth)}  ${
    describe(view, now, ahead)
  }`
  const cut = cliTruncate(text, columns)
  return isColored ? render(Doc.annotate(Doc.text(cut), colors[view.state])) : cut
}

// Those that need looking at first.
const ranks = { running: 0, queued: 1, over: 2 } as const

const rank = (view: View): number => isOver(view) ? ranks.over : view.state === "running" ? ranks.running : ranks.queued

const counted = (views: ReadonlyArray<View>): string => {
  const counts = new Map<string, number>()
  for (const view of views) {
    const state = wordFor[view.state]
    counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  return Array.from(counts, ([state, count]) => `${count} ${state}`).join(", ")
}

/**
 * A row for each job, or, where there are too many, for those that are running, then waiting, then over, and a line that
 * counts the others.
 *
 * @internal
 */
export const screen = (
  views: ReadonlyArray<View>,
  now: number,
  options: {
    readonly ahead: number
    /** How many columns a row may take. */
    readonly columns: number
    readonly isColored: boolean
    /** How many rows there may be. */
    readonly most: number
  }
): ReadonlyArray<string> => {
  const { columns, most } = options
  const isWhole = views.length <= most
  const chosen = isWhole ? views : Array.from(views).sort((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, most - 1))
  const nameWidth = Math.max(0, ...chosen.map(({ name }) => stringWidth(name)))
  const lines = chosen.map((view) => row(view, now, nameWidth, options))
  if (isWhole) return lines
  const shown = new Set(chosen)
  const rest = `and ${views.length - chosen.length} more: ${counted(views.filter((v) => !shown.has(v)))}`
  return [...lines, cliTruncate(rest, columns)]
}

const timeOf = (event: Event, now: number): string => {
  const [at, isTold] = "observedAt" in event
    ? Option.match(event.at, {
      onNone: () => [event.observedAt, false] as const,
      onSome: (at) => [at, true] as const
    })
    : [DateTime.unsafeMake(now), true]
  return `${isTold ? " " : "~"}${DateTime.formatIso(at)}`
}

/**
 * An event in a line of text. A time that the service did not tell is that of the poll, and marked with `~`.
 *
 * @internal
 */
export const line = (name: string, event: Event, now: number): string => {
  const isInferred = "evidence" in event && event.evidence === "inferred"
  return `${timeOf(event, now)}  ${printable(name)}  ${event._tag}${isInferred ? " (inferred)" : ""}  ${
    detailsOf(event)
  }`.trimEnd()
}
