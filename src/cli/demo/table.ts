import cliTruncate from "cli-truncate"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import stringWidth from "string-width"
import type { JobRef } from "../../model/Job.js"
import type { JobSummary } from "../../model/JobSummary.js"
import { padded, seconds } from "../text.js"
import type { View } from "../watch/jobView.js"

/** The outcome of each job, in rows of at most so many columns. */
export const table = (views: ReadonlyArray<View>, polls: (job: JobRef) => number, columns: number): string => {
  const about = (summary: JobSummary, duration: Duration.Duration) =>
    `${summary.exact ? "" : "~"}${seconds(Duration.toMillis(duration))}`
  const lines = [
    ["job", "outcome", "steps", "attempts", "polls", "in queue", "running"],
    ...views.map(({ name, summary }) => [
      name,
      Option.getOrElse(summary.outcome, () => "-"),
      String(summary.transitions),
      String(summary.attempts.length),
      String(polls(summary.job)),
      about(summary, summary.inQueue),
      about(summary, summary.running)
    ])
  ]
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => stringWidth(line[column] ?? "")))) ?? []
  const text = lines.map((line) =>
    line.map((cell, i) => {
      const width = widths[i] ?? 0
      return i < 2 ? padded(cell, width) : cell.padStart(width)
    }).join("  ").trimEnd()
  )
  const note = views.some(({ summary }) => !summary.exact)
    ? ["~ by the time of a poll, not reported by the service"]
    : []
  return ["", ...[...text, ...note].map((line) => cliTruncate(line, columns)), ""].join("\n")
}
