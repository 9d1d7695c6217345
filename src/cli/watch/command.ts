// `queue-status watch`.
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { format, type JobRef } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import * as JobStream from "../../watch/JobStream.js"
import * as Exit from "../exit.js"
import { jobArgument, quoted } from "../jobArgument.js"
import { every, gateway, json, timeout, utc } from "../options.js"
import * as Display from "./display.js"
import type { Event } from "./events.js"
import { canResume, states, type View } from "./jobView.js"

const { deadline } = WatchPolicy.defaultPolicy

/** The default policy, with the options of the command line. */
export const policyOf = (parts: {
  readonly every: Duration.Duration | undefined
  readonly timeout: Duration.Duration | undefined
}): JobStream.Options => ({
  cadence: parts.every,
  deadline: { ...deadline, total: parts.timeout ?? deadline.total }
})

// A cursor contains its job, so cursors may come in any order.
const withCursors = (jobs: ReadonlyArray<JobRef>, texts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const cursors = new Map<string, Transition.Cursor>()
    for (const text of texts) {
      const cursor = yield* Effect.mapError(Transition.parseCursor(text), Exit.asUsage)
      const job = jobs.find((job) => Transition.Cursor.isOf(cursor, job))
      if (job === undefined) return yield* Exit.usage(`--from ${text}: the cursor is of none of these jobs`)
      // the cursor of an ended job does not have its outcome: the watch starts again, and reports the end
      if (cursor.phase !== "Ended") cursors.set(format(job), cursor)
    }
    const distinct = new Map(jobs.map((job) => [format(job), job]))
    return Array.from(distinct, ([key, job]) => ({ job, from: cursors.get(key) }))
  })

// the most severe first
const severity = [Exit.codes.gaveUp, Exit.codes.failed, Exit.codes.canceled]

const codeOf = (views: ReadonlyArray<View>): number =>
  severity.find((code) => views.some(({ state }) => states[state].code === code)) ?? Exit.codes.done

const settings = { json, utc, gateway, every, timeout }

type Settings = Command.Command.ParseConfig<typeof settings>

const inMillis = (duration: Duration.Duration): string => `${Duration.toMillis(duration)}ms`

/** Prints the command that resumes the watch of the jobs that have not ended. */
const printResume = (
  views: ReadonlyArray<View>,
  { every, gateway, json, timeout, utc }: Settings
): Effect.Effect<void> => {
  const left = views.filter(canResume)
  if (left.length === 0) return Effect.void
  const words = [
    ...["queue-status", "watch", ...left.map(({ job }) => format(job))],
    ...left.flatMap(({ cursor }) => cursor === undefined ? [] : ["--from", Transition.formatCursor(cursor)]),
    ...(json ? ["--json"] : []),
    ...(utc ? ["--utc"] : []),
    ...(gateway === undefined ? [] : ["--gateway", gateway]),
    ...(every ? ["--every", inMillis(every)] : []),
    ...(timeout ? ["--timeout", inMillis(timeout)] : [])
  ]
  return Console.error(
    `The watch has stopped; the jobs continue. To resume it:\n  ${words.map(quoted).join(" ")}`
  )
}

const watch = ({ from, jobs, ...settings }: Settings & {
  readonly jobs: ReadonlyArray<JobRef>
  readonly from: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const all = yield* withCursors(jobs, from)
    const policy = policyOf(settings)
    const views = yield* Effect.scoped(Effect.gen(function*() {
      const display = yield* Display.make(settings)
      for (const { from, job } of all) yield* display.watching(job, { from })
      const events = all.map(({ from, job }) =>
        JobStream.events(job, { ...policy, from }).pipe(
          Stream.catchAll((error) => Stream.make<[Event]>({ _tag: "WatchFailed", job, error }))
        )
      )
      yield* Stream.mergeAll(events, { concurrency: "unbounded" }).pipe(
        Stream.runForEach(display.show),
        Effect.onError(() => Effect.flatMap(display.views, (views) => printResume(views, settings)))
      )
      yield* display.finish
      return yield* display.views
    }))
    yield* printResume(views, settings)
    const code = codeOf(views)
    if (code !== Exit.codes.done) return yield* Exit.silently(code)
  })

export const command = Command.make("watch", {
  ...settings,
  from: Options.text("from").pipe(
    Options.withPseudoName("cursor"),
    Options.repeated,
    Options.withDescription("resumes after this cursor of an earlier watch; one for each job, in any order")
  ),
  jobs: jobArgument.pipe(Args.atLeast(1))
}, watch).pipe(Command.withDescription(
  "Watches jobs until all have ended: live rows on a terminal, a line for each event in a pipe. Stopping the watch " +
    "leaves the jobs unchanged. Exits with 0 if every job is done."
))
