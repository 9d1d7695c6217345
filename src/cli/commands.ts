/**
 * The commands that ask the service once: `submit`, `cancel`, `clear`, `metrics`; and `result`, which waits.
 *
 * @internal
 */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Terminal from "@effect/platform/Terminal"
import * as Chunk from "effect/Chunk"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { format, JsonObject } from "../model/Job.js"
import { mayHaveArrived } from "../model/QueueError.js"
import type { OutcomeError, WatchError } from "../model/QueueError.js"
import * as JobQueue from "../queue/JobQueue.js"
import * as JobStream from "../watch/JobStream.js"
import * as Exit from "./exit.js"
import { jobArgument } from "./jobArgument.js"
import { every, json, timeout } from "./options.js"
import { print } from "./output.js"
import { jsonLine, jsonText, printable } from "./text.js"
import { policyOf } from "./watch/command.js"

const model = Args.text({ name: "model" }).pipe(Args.withDescription("such as my-org/video-generator"))

const orExit = <A, R>(effect: Effect.Effect<A, WatchError | OutcomeError, R>): Effect.Effect<A, Exit.ExitWith, R> =>
  Effect.mapError(effect, Exit.fromError)

// -----------------------------------------------------------------------------
// submit
// -----------------------------------------------------------------------------

const decodeObject = Schema.decode(Schema.parseJson(JsonObject))

const parseObject = (what: string, text: string): Effect.Effect<JsonObject, Exit.ExitWith> =>
  Effect.mapError(decodeObject(text), () => Exit.usage(`${what} must be a JSON object`))

const decodeText = (what: string, bytes: Uint8Array): Effect.Effect<string, Exit.ExitWith> =>
  Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => Exit.usage(`${what} is not UTF-8`)
  })

const stdin = Effect.map(
  Stream.runCollect(NodeStream.stdin),
  (chunks) => Buffer.concat(Chunk.toReadonlyArray(chunks))
)

// As curl takes a body.
const readPayload = (text: string): Effect.Effect<JsonObject, Exit.ExitWith, FileSystem.FileSystem> => {
  const file = text.slice(1)
  const [what, bytes] = text === "-"
    ? ["what came from standard input", stdin] as const
    : text.startsWith("@")
    ? [`the content of ${file}`, Effect.flatMap(FileSystem.FileSystem, (files) => files.readFile(file))] as const
    : ["the payload", undefined] as const
  return bytes === undefined
    ? parseObject(what, text)
    : bytes.pipe(
      Effect.mapError(Exit.fromPlatformError),
      Effect.flatMap((bytes) => decodeText(what, bytes)),
      Effect.flatMap((text) => parseObject(what, text))
    )
}

/** @internal */
export const submit = Command.make("submit", {
  json,
  info: Options.text("info").pipe(
    Options.withPseudoName("json"),
    Options.withDescription("notes that stay with the job: a JSON object"),
    Options.optional
  ),
  priority: Options.integer("priority").pipe(
    Options.withDescription("a higher one goes first; 0 unless given"),
    Options.optional
  ),
  model,
  payload: Args.text({ name: "payload" }).pipe(
    Args.withDescription("what the model is given: a JSON object, @FILE, or - for standard input; {} unless given"),
    Args.withDefault("{}")
  )
}, ({ info, json, model, payload, priority }) =>
  Effect.gen(function*() {
    const request = {
      model,
      payload: yield* readPayload(payload),
      ...(Option.isSome(info) && { info: yield* parseObject("--info", info.value) }),
      ...(Option.isSome(priority) && { priority: priority.value })
    }
    const sayThatItMayBe = Console.error("The job may have been made all the same: it was not sent again.")
    const job = yield* JobQueue.submit(request).pipe(
      Effect.onInterrupt(() => sayThatItMayBe),
      Effect.tapError((error) => mayHaveArrived(error) ? sayThatItMayBe : Effect.void),
      orExit
    )
    const name = printable(format(job))
    yield* print(json ? jsonLine(job) : name).pipe(
      // there is a job, and this is the only one who knows its name
      Effect.tapError(() => Console.error(`submitted ${name}`))
    )
  })).pipe(Command.withDescription(
    "Adds a job to the queue of a model, and prints MODEL/REQUEST_ID, by which the other commands know it. Sent once."
  ))

// -----------------------------------------------------------------------------
// result
// -----------------------------------------------------------------------------

/** @internal */
export const result = Command.make(
  "result",
  { every, timeout, job: jobArgument },
  ({ job, ...parts }) =>
    Effect.gen(function*() {
      const policy = yield* policyOf(parts)
      const outputs = yield* orExit(JobStream.result(job, policy))
      const isRead = yield* Effect.flatMap(Terminal.Terminal, ({ isTTY }) => isTTY)
      yield* print(isRead ? jsonText(outputs) : jsonLine(outputs))
    })
).pipe(Command.withDescription("Waits for a job to be done, and prints its outputs as JSON."))

// -----------------------------------------------------------------------------
// cancel, clear, metrics
// -----------------------------------------------------------------------------

/** @internal */
export const cancel = Command.make("cancel", { job: jobArgument }, ({ job }) =>
  Effect.flatMap(
    orExit(JobQueue.cancel(job)),
    JobQueue.CancelResult.$match({
      Canceled: () => print("canceled"),
      NotCanceled: ({ status }) =>
        status === "canceled"
          ? print("canceled before")
          : Effect.fail(
            new Exit.ExitWith({
              code: Exit.codes.notCanceled,
              message: `${format(job)}: not canceled, it is ${status}: only a pending job can be`
            })
          )
    })
  )).pipe(Command.withDescription("Cancels a job that is pending, and leaves any other alone."))

/** @internal */
export const clear = Command.make(
  "clear",
  { json, model },
  ({ json, model }) =>
    Effect.flatMap(
      orExit(JobQueue.clear(model)),
      (canceled) => print(json ? jsonLine({ canceled }) : `${canceled} canceled`)
    )
).pipe(
  Command.withDescription("Cancels every pending job of a model, and leaves the running ones alone.")
)

/** @internal */
export const metrics = Command.make(
  "metrics",
  { json, model },
  ({ json, model }) =>
    Effect.flatMap(orExit(JobQueue.metrics(model)), (metrics) =>
      print(
        json
          ? jsonLine(metrics)
          : `${metrics.waiting} waiting, ${metrics.running} running`
      ))
).pipe(Command.withDescription("Tells how many jobs of a model are waiting and running."))
