// The commands that ask the service once (`submit`, `status`, `why`, `cancel`, `clear`, `metrics`), and `result`, which waits.
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Terminal from "@effect/platform/Terminal"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { format, JobStatus, JsonObject } from "../model/Job.js"
import { mayHaveArrived } from "../model/QueueError.js"
import * as Transition from "../model/Transition.js"
import * as LearnedCadence from "../policy/LearnedCadence.js"
import { clockAheadOf } from "../queue/internal/hidden.js"
import * as JobQueue from "../queue/JobQueue.js"
import * as JobTelemetry from "../telemetry/JobTelemetry.js"
import * as JobStream from "../watch/JobStream.js"
import * as Exit from "./exit.js"
import { jobArgument } from "./jobArgument.js"
import { every, gateway, integer, json, optional, timeout } from "./options.js"
import { print } from "./terminal.js"
import { jsonLine, jsonText, printable } from "./text.js"
import { policyOf } from "./watch/command.js"
import * as View from "./watch/jobView.js"
import { percent } from "./watch/rows.js"

const model = Args.text({ name: "model" }).pipe(
  Args.withDescription("the name of the model, such as my-org/video-generator")
)

const decodeObject = Schema.decode(Schema.parseJson(JsonObject))

const parseObject = (what: string, text: string): Effect.Effect<JsonObject, Exit.ExitWith> =>
  Effect.mapError(decodeObject(text), () => Exit.usage(`${what} must be a JSON object`))

const decodeText = (what: string, bytes: Uint8Array): Effect.Effect<string, Exit.ExitWith> =>
  Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => Exit.usage(`${what} is not UTF-8`)
  })

const stdin = NodeStream.toUint8Array(() => process.stdin, {
  onFailure: (error) => Exit.usage(`can't read standard input: ${String(error)}`)
})

const readFile = (file: string): Effect.Effect<Uint8Array, Exit.ExitWith, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (files) => files.readFile(file)).pipe(
    Effect.mapError((error) => Exit.usage(`can't read ${file}: ${Exit.reasonOf(error)}`))
  )

// the notation of curl
const readPayload = (text: string): Effect.Effect<JsonObject, Exit.ExitWith, FileSystem.FileSystem> => {
  if (text !== "-" && !text.startsWith("@")) return parseObject("the payload", text)
  const file = text.slice(1)
  const [what, bytes] = text === "-"
    ? ["standard input", stdin] as const
    : [`the content of ${file}`, readFile(file)] as const
  return bytes.pipe(
    Effect.flatMap((bytes) => decodeText(what, bytes)),
    Effect.flatMap((text) => parseObject(what, text))
  )
}

export const submit = Command.make("submit", {
  json,
  info: Options.text("info").pipe(
    Options.withPseudoName("json"),
    Options.withDescription("a JSON object that is stored with the job"),
    optional
  ),
  priority: integer("priority").pipe(
    Options.withDescription("jobs of a higher priority go first; by default 0"),
    optional
  ),
  model,
  payload: Args.text({ name: "payload" }).pipe(
    Args.withDescription("the input of the model: a JSON object, @FILE, or - for standard input; by default {}"),
    Args.withDefault("{}")
  )
}, ({ info, json, model, payload, priority }) =>
  Effect.gen(function*() {
    const request = {
      model,
      payload: yield* readPayload(payload),
      info: info === undefined ? undefined : yield* parseObject("--info", info),
      priority
    }
    const warn = Console.error("The job may have been created all the same. The request was not sent again.")
    const job = yield* JobQueue.submit(request).pipe(
      Effect.onInterrupt(() => warn),
      Effect.tapError((error) => mayHaveArrived(error) ? warn : Effect.void)
    )
    const name = printable(format(job))
    yield* print(json ? jsonLine(job) : name).pipe(
      // nothing else knows the reference of the job
      Effect.tapError(() => Console.error(`submitted ${name}`))
    )
  })).pipe(Command.withDescription(
    "Adds a job to the queue of a model, and prints its reference, MODEL/REQUEST_ID. The request is sent once."
  ))

const encodeStatus = Schema.encode(JobStatus)

export const status = Command.make("status", { json, job: jobArgument }, ({ job, json }) =>
  Effect.gen(function*() {
    const snapshot = yield* JobQueue.status(job)
    if (json) return yield* print(jsonLine(yield* Effect.orDie(encodeStatus(snapshot))))
    const observedAt = yield* DateTime.now
    const { epochMillis } = observedAt
    // an unknown state ends the path, so that there is one
    const { transitions } = yield* Effect.orDie(
      Transition.derive(Option.none(), snapshot, { observedAt, unrecognized: "end" })
    )
    const ahead = clockAheadOf(yield* JobQueue.JobQueue)()
    const view = {
      ...transitions.reduce(View.add, View.make(printable(format(job)), job, epochMillis)),
      expectedEnd: yield* LearnedCadence.expectedEnd(yield* LearnedCadence.estimates, snapshot, ahead)
    }
    const words = [view.name, View.states[view.state].word, percent(view), View.describe(view, epochMillis, ahead)]
    yield* print(words.filter((word) => word !== "").join("  "))
  })).pipe(Command.withDescription("Prints the state of a job, by one request."))

const encodeExplanation = Schema.encode(JobTelemetry.Explanation)

export const why = Command.make("why", { json, job: jobArgument }, ({ job, json }) =>
  Effect.gen(function*() {
    const explanation = yield* JobTelemetry.explain(job)
    const [cause] = explanation.causes
    if (cause?._tag === "NoStatus") return yield* cause.error
    yield* print(
      json ? jsonLine(yield* Effect.orDie(encodeExplanation(explanation))) : printable(explanation.summary)
    )
  })).pipe(Command.withDescription("Prints why a job has not ended yet, by two requests."))

export const result = Command.make(
  "result",
  { json, gateway, every, timeout, job: jobArgument },
  ({ job, json, ...parts }) =>
    Effect.gen(function*() {
      if (process.stderr.isTTY) {
        yield* Console.error(`Waiting for ${printable(format(job))}. Ctrl-C stops waiting; the job continues.`)
      }
      const outputs = yield* JobStream.result(job, policyOf(parts))
      const isRead = !json && (yield* Effect.flatMap(Terminal.Terminal, ({ isTTY }) => isTTY))
      yield* print(isRead ? jsonText(outputs) : jsonLine(outputs))
    })
).pipe(Command.withDescription("Waits until a job is done, and prints its outputs as JSON."))

export const cancel = Command.make("cancel", { json, job: jobArgument }, ({ job, json }) =>
  Effect.gen(function*() {
    const result = yield* JobQueue.cancel(job)
    const status = result._tag === "Canceled" ? "canceled" : result.status
    if (json) yield* print(jsonLine({ status }))
    if (status !== "canceled") {
      return yield* new Exit.ExitWith({
        code: Exit.codes.notCanceled,
        message: `${format(job)}: not canceled, it is ${status}: only a pending job can be`
      })
    }
    if (!json) yield* print(result._tag === "Canceled" ? "canceled" : "canceled before")
  })).pipe(Command.withDescription("Cancels a pending job. A job in any other state is left unchanged."))

export const clear = Command.make("clear", { json, model }, ({ json, model }) =>
  Effect.flatMap(
    JobQueue.clear(model),
    (canceled) => print(json ? jsonLine({ canceled }) : `${canceled} canceled`)
  )).pipe(Command.withDescription("Cancels every pending job of a model. Running jobs are left unchanged."))

export const metrics = Command.make("metrics", { json, model }, ({ json, model }) =>
  Effect.flatMap(
    JobQueue.metrics(model),
    (metrics) => print(json ? jsonLine(metrics) : `${metrics.waiting} waiting, ${metrics.running} running`)
  )).pipe(Command.withDescription("Prints how many jobs of a model are waiting and running."))
