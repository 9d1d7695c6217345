/**
 * What became of some jobs, as a table.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { JobRef } from "../../model/Job.js"
import type { JobSummary } from "../../model/JobSummary.js"
import { seconds } from "../text.js"
import type { View } from "../watch/jobView.js"

/**
 * `polls` is how often each job was polled.
 *
 * @internal
 */
export const table = (views: ReadonlyArray<View>, polls: (job: JobRef) => number): string => {
  const about = (summary: JobSummary, duration: Duration.Duration) =>
    `${summary.exact ? "" : "~"}${seconds(Duration.toMillis(duration))}`
  const lines = [
    ["job", "outcome", "transitions", "attempts", "polls", "time in queue", "time running"],
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
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0))) ?? []
  const text = lines.map((line) =>
    line.map((cell, i) => i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)).join("  ").trimEnd()
  )
  const note = views.some(({ summary }) => !summary.exact)
    ? ["~ the service reported no time: it is that of the poll"]
    : []
  return ["", ...text, ...note, ""].join("\n")
}
