import cliTruncate from "cli-truncate"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { padded, widthOf } from "../text.js"
import type { View } from "../watch/jobView.js"

/** The outcome of each job, in rows of at most so many columns. */
export const table = (views: ReadonlyArray<View>, columns: number): string => {
  const lines = [
    ["job", "outcome", "steps", "attempts", "in queue", "running"],
    ...views.map(({ name, summary: { attempts, exact, inQueue, outcome, running, transitions } }) => [
      name,
      Option.getOrElse(outcome, () => "-"),
      String(transitions),
      String(attempts.length),
      ...[inQueue, running].map((time) => `${exact ? "" : "~"}${Duration.toSeconds(time).toFixed(1)} s`)
    ])
  ]
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => widthOf(line[i] ?? "")))) ?? []
  const text = lines.map((line) =>
    line.map((cell, i) => i < 2 ? padded(cell, widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)).join("  ").trimEnd()
  )
  const note = views.every(({ summary }) => summary.exact)
    ? []
    : ["~ by the time of a poll, not reported by the service"]
  return ["", ...[...text, ...note].map((line) => cliTruncate(line, columns)), ""].join("\n")
}
