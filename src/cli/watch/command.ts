// `queue-status watch`.
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { JobRef } from "../../model/Job.js"
import { format } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import * as Cadence from "../../policy/Cadence.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import * as JobStream from "../../watch/JobStream.js"
import type { JobWatcher } from "../../watch/JobWatcher.js"
import * as Exit from "../exit.js"
import { jobArgument, quoted } from "../jobArgument.js"
import { every, gateway, json, timeout, utc } from "../options.js"
import * as Display from "./display.js"
import type { Event } from "./events.js"
import { isOver } from "./jobView.js"
import type { State, View } from "./jobView.js"

/** The default policy, with the options of the command line. */
export const policyOf = (parts: {
  readonly every: Option.Option<Duration.Duration>
  readonly timeout: Option.Option<Duration.Duration>
}): Effect.Effect<WatchPolicy.WatchPolicy> =>
  Effect.map(WatchPolicy.Default, (policy) => ({
    ...policy,
    cadence: Option.match(parts.every, { onNone: () => policy.cadence, onSome: Cadence.fixed }),
    deadline: { ...policy.deadline, total: Option.getOrElse(parts.timeout, () => policy.deadline.total) }
  }))

interface Watched {
  readonly job: JobRef
  readonly from: Option.Option<Transition.Cursor>
}

// A cursor contains its job, so cursors may come in any order.
const pair = (
  jobs: ReadonlyArray<JobRef>,
  texts: ReadonlyArray<string>
): Either.Either<ReadonlyArray<Watched>, Exit.ExitWith> =>
  Either.gen(function*() {
    const cursors = new Map<string, Transition.Cursor>()
    for (const text of texts) {
      const cursor = yield* Either.mapLeft(Transition.parseCursor(text), ({ message }) => Exit.usage(message))
      const job = jobs.find((job) => Transition.Cursor.isOf(cursor, job))
      if (job === undefined) {
        return yield* Either.left(Exit.usage(`--from ${text}: the cursor is of none of these jobs`))
      }
      cursors.set(format(job), cursor)
    }
    const distinct = new Map(jobs.map((job) => [format(job), job]))
    return Array.from(distinct, ([key, job]) => ({ job, from: Option.fromNullable(cursors.get(key)) }))
  })

const codeOf: { readonly [state in State]: number } = {
  Completed: Exit.codes.done,
  Canceled: Exit.codes.canceled,
  FailedByModel: Exit.codes.failed,
  RetriesExhausted: Exit.codes.failed,
  Unrecognized: Exit.codes.gaveUp,
  WatchFailed: Exit.codes.gaveUp,
  unseen: Exit.codes.gaveUp,
  queued: Exit.codes.gaveUp,
  running: Exit.codes.gaveUp
}

// from the least to the most severe
const severity: ReadonlyArray<number> = [Exit.codes.done, Exit.codes.canceled, Exit.codes.failed, Exit.codes.gaveUp]

const codeOfAll = (views: ReadonlyArray<View>): number =>
  severity[Math.max(0, ...views.map(({ state }) => severity.indexOf(codeOf[state])))] ?? Exit.codes.bug

interface Settings {
  readonly json: boolean
  readonly utc: boolean
  readonly gateway: Option.Option<string>
  readonly every: Option.Option<Duration.Duration>
  readonly timeout: Option.Option<Duration.Duration>
}

const settingsOf = ({ every, gateway, json, timeout, utc }: Settings): ReadonlyArray<string> => [
  ...(json ? ["--json"] : []),
  ...(utc ? ["--utc"] : []),
  ...Option.match(gateway, { onNone: () => [], onSome: (url) => ["--gateway", url] }),
  ...[["--every", every] as const, ["--timeout", timeout] as const].flatMap(([name, duration]) =>
    Option.match(duration, { onNone: () => [], onSome: (duration) => [name, `${Duration.toMillis(duration)}ms`] })
  )
]

/** The command that resumes the watch of the jobs that have not ended. */
const resume = (views: ReadonlyArray<View>, settings: Settings): Option.Option<string> => {
  const left = views.filter((view) => (!isOver(view) || view.state === "WatchFailed") && !view.isLost)
  if (left.length === 0) return Option.none()
  const words = [
    ...left.map(({ job }) => format(job)),
    ...left.flatMap(({ cursor }) =>
      Option.match(cursor, { onNone: () => [], onSome: (cursor) => ["--from", Transition.formatCursor(cursor)] })
    ),
    ...settingsOf(settings)
  ]
  return Option.some(["queue-status", "watch", ...words.map(quoted)].join(" "))
}

const tellHowToResume = (views: ReadonlyArray<View>, settings: Settings): Effect.Effect<void> =>
  Option.match(resume(views, settings), {
    onNone: () => Effect.void,
    onSome: (command) => Console.error(`The watch has stopped; the jobs continue. To resume it:\n  ${command}`)
  })

const eventsOf = (
  { from, job }: Watched,
  policy: WatchPolicy.WatchPolicy
): Stream.Stream<Event, never, JobWatcher> =>
  JobStream.events(job, { ...policy, from: Option.getOrUndefined(from) }).pipe(
    Stream.catchAll((error) => Stream.make({ _tag: "WatchFailed" as const, job, error }))
  )

// The cursor of an ended job does not have its outcome: the watch starts again, and reports the end.
const notEnded = (watched: Watched): Watched => ({
  ...watched,
  from: Option.filter(watched.from, ({ phase }) => phase !== "Ended")
})

const watch = ({ from, jobs, ...settings }: Settings & {
  readonly jobs: ReadonlyArray<JobRef>
  readonly from: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const all = (yield* pair(jobs, from)).map(notEnded)
    const policy = yield* policyOf(settings)
    const views = yield* Effect.scoped(Effect.gen(function*() {
      const display = yield* Display.make(settings)
      for (const { from, job } of all) yield* display.watching(job, { from })
      yield* Stream.mergeAll(all.map((watched) => eventsOf(watched, policy)), { concurrency: "unbounded" }).pipe(
        Stream.runForEach(display.show),
        Effect.onError(() => Effect.flatMap(display.views, (views) => tellHowToResume(views, settings)))
      )
      yield* display.finish
      return yield* display.views
    }))
    yield* tellHowToResume(views, settings)
    const code = codeOfAll(views)
    if (code !== Exit.codes.done) return yield* Exit.silently(code)
  })

export const command = Command.make("watch", {
  json,
  utc,
  gateway,
  every,
  timeout,
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
