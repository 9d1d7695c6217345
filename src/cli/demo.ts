// an entry point: this is where layers are provided
// @effect-diagnostics strictEffectProvide:off
/**
 * `npm run demo`: a queue on this machine, jobs submitted to it over HTTP, and their lives as they happen. With a model
 * and a request id it watches a job of the real service instead.
 *
 * @internal
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Cadence from "../Cadence.js"
import * as Emulator from "../emulator/Emulator.js"
import { ref } from "../Job.js"
import type { JobRef } from "../Job.js"
import * as JobQueue from "../JobQueue.js"
import * as JobStream from "../JobStream.js"
import * as Display from "./display.js"
import * as Scenario from "./scenario.js"

/** How often each job was polled, by request id. */
class Polls extends Context.Tag("effect-queue-status/cli/demo/Polls")<Polls, Map<string, number>>() {}

const counted = <E, R>(queue: Layer.Layer<JobQueue.JobQueue, E, R>): Layer.Layer<JobQueue.JobQueue | Polls, E, R> =>
  Layer.effectContext(Effect.map(JobQueue.JobQueue, (service) => {
    const polls = new Map<string, number>()
    return Context.make(Polls, polls).pipe(
      Context.add(JobQueue.JobQueue, {
        ...service,
        status: (job) =>
          Effect.suspend(() => {
            polls.set(job.requestId, (polls.get(job.requestId) ?? 0) + 1)
            return service.status(job)
          })
      })
    )
  })).pipe(Layer.provide(queue))

const watch = (name: string, job: JobRef, display: Display.Display) =>
  Stream.unwrap(Effect.as(
    display.watching(name, job),
    JobStream.transitions(job, {
      cadence: Cadence.exponential({ base: "400 millis", factor: 1.2, cap: "1 second" })
    })
  )).pipe(Stream.map((transition) => [name, transition] as const))

const show = <E, R>(
  display: Display.Display,
  transitions: Stream.Stream<Stream.Stream.Success<ReturnType<typeof watch>>, E, R>
) =>
  Effect.gen(function*() {
    yield* Stream.runForEach(transitions, ([name, transition]) => display.show(name, transition))
    const polls = yield* Polls
    yield* display.end((job) => polls.get(job.requestId) ?? 0)
  })

const onThisMachine = Effect.gen(function*() {
  const display = yield* Display.make
  const submitted = Stream.fromIterable(Scenario.jobs).pipe(
    Stream.mapEffect(({ cancel, name, ...request }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit(request)
        if (cancel) yield* Effect.forkScoped(Effect.delay(JobQueue.cancel(job), "1 second"))
        return { name, job }
      })
    )
  )
  yield* show(
    display,
    Stream.flatMap(submitted, ({ job, name }) => watch(name, job, display), { concurrency: "unbounded" })
  )
}).pipe(Effect.scoped)

const ofTheService = (job: JobRef) =>
  Effect.gen(function*() {
    const display = yield* Display.make
    yield* show(display, watch(job.requestId.slice(0, 20), job, display))
  }).pipe(Effect.scoped)

const EmulatedQueue = counted(
  Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("demo") }))
  ).pipe(Layer.provide(Emulator.layer({ workers: Scenario.pool })))
)

const command = Command.make(
  "demo",
  {
    model: Args.text({ name: "model" }).pipe(
      Args.withDescription("with TOGETHER_API_KEY set: the model of a job of the real service"),
      Args.optional
    ),
    requestId: Args.text({ name: "request-id" }).pipe(
      Args.withDescription("and its request id; the job is watched, nothing else"),
      Args.optional
    )
  },
  ({ model, requestId }) =>
    Effect.gen(function*() {
      if (Option.isNone(model)) return yield* Effect.provide(onThisMachine, EmulatedQueue)
      if (Option.isNone(requestId)) {
        const issue = "<request-id> is missing: a model needs one beside it"
        yield* Console.error(issue)
        return yield* Effect.fail(ValidationError.missingValue(HelpDoc.p(issue)))
      }
      yield* Effect.provide(ofTheService(ref(model.value, requestId.value)), counted(JobQueue.layer))
    })
).pipe(Command.withDescription(
  "Submits jobs to a queue on this machine, over HTTP, and shows their lives as they happen: live rows on a terminal, " +
    "a JSON line for each transition in a pipe."
))

const main = Command.run(command, { name: "npm run demo --", version: "0.1.0" })

// Whoever reads what is shown may have seen enough (`| head -1`). Each write tells of that itself, but a stream whose
// errors nobody listens to ends the process.
process.stdout.on("error", () => {})

const nobodyReads = (error: unknown): boolean =>
  Predicate.hasProperty(error, "cause") && Predicate.hasProperty(error.cause, "code") && error.cause.code === "EPIPE"

// On standard error: in a pipe, standard output is for the lines alone.
const tell = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => Console.error(Cause.pretty(cause)),
    // what is wrong with the arguments has been said
    onSome: (error) => ValidationError.isValidationError(error) ? Effect.void : Console.error(String(error))
  })

main(process.argv).pipe(
  Effect.catchIf(nobodyReads, () => Effect.void),
  Effect.tapErrorCause(tell),
  Effect.provide(Layer.mergeAll(
    NodeHttpClient.layerUndici,
    NodeContext.layer,
    // not among the JSON lines
    Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
  )),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // a shell takes 130 for "interrupted"
    teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1)
  })
)
