// Views as rows of a terminal.
import * as AnsiDoc from "@effect/printer-ansi/AnsiDoc"
import * as Doc from "@effect/printer/Doc"
import cliTruncate from "cli-truncate"
import * as Arr from "effect/Array"
import * as Option from "effect/Option"
import { ending, padded, widthOf } from "../text.js"
import { describe, fractionOf, isOver, states, type View } from "./jobView.js"

export const render = (doc: AnsiDoc.AnsiDoc): string => AnsiDoc.render(doc, { style: "pretty" })

const barWidth = 16

const bar = (fraction: number): string => {
  const filled = Math.round(fraction * barWidth)
  return `${"█".repeat(filled)}${"░".repeat(barWidth - filled)}`
}

/** The progress in percent, if it is known. */
export const percent = (view: View): string =>
  Option.match(fractionOf(view), { onNone: () => "", onSome: (fraction) => `${Math.round(fraction * 100)} %` })

const percentWidth = "100 %".length
const stateWidth = "canceled".length

interface RowOptions {
  /** How far the service's clock is ahead of ours, in milliseconds. */
  readonly ahead: number
  /** How many columns a row may take. */
  readonly columns: number
  readonly isColored: boolean
}

// Progress and state come after the name, which gives way to them; its end tells jobs apart.
const nameColumns = (names: ReadonlyArray<string>, columns: number): number => {
  const rest = columns - percentWidth - stateWidth - 4
  const room = Math.max(rest - 2 - "59 m 59 s".length, Math.min(8, rest), 0)
  return Math.min(room, Math.max(0, ...names.map((name) => widthOf(name))))
}

/** Rows whose columns line up. If they do not fit, the bar goes first, then the time left, then the attempt. */
const rows = (
  views: ReadonlyArray<View>,
  now: number,
  { ahead, columns, isColored }: RowOptions
): ReadonlyArray<string> => {
  const nameWidth = nameColumns(views.map(({ name }) => name), columns)
  const before = (view: View, hasBar: boolean) =>
    [
      padded(ending(view.name, nameWidth), nameWidth),
      `${hasBar ? `${bar(Option.getOrElse(fractionOf(view), () => 0))} ` : ""}${percent(view).padStart(percentWidth)}`,
      states[view.state].word.padEnd(stateWidth)
    ].join("  ")
  const fits = (text: string) => widthOf(text) <= columns
  // the reason of a failure may be of any length: it does not count
  const hasBar = views.every((view) =>
    fits(isOver(view) ? before(view, true) : `${before(view, true)}  ${describe(view, now, ahead)}`)
  )
  return views.map((view) => {
    const all = ([0, 1, 2] as const).map((omitted) =>
      `${before(view, hasBar)}  ${describe(view, now, ahead, omitted)}`.trimEnd()
    )
    const row = all.find(fits) ?? cliTruncate(all.at(-1) ?? "", columns)
    return isColored ? render(Doc.annotate(Doc.text(row), states[view.state].color)) : row
  })
}

const rank = (view: View): number => isOver(view) ? 2 : view.state === "running" ? 0 : 1

const counted = (views: ReadonlyArray<View>): string =>
  Object.entries(Arr.groupBy(views, ({ state }) => states[state].word))
    .map(([word, { length }]) => `${length} ${word}`)
    .join(", ")

/** At most so many rows: if there are more jobs, running ones come first, then waiting ones, and a line counts the rest. */
export const screen = (
  views: ReadonlyArray<View>,
  now: number,
  { most, ...options }: RowOptions & { readonly most: number }
): ReadonlyArray<string> => {
  if (views.length <= most) return rows(views, now, options)
  const sorted = Array.from(views).sort((a, b) => rank(a) - rank(b))
  const shown = sorted.slice(0, Math.max(0, most - 1))
  const rest = sorted.slice(shown.length)
  return [
    ...rows(shown, now, options),
    cliTruncate(`and ${rest.length} more: ${counted(rest)}`, options.columns)
  ]
}
