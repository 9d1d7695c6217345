// an entry point: this is where layers are provided
// @effect-diagnostics strictEffectProvide:off
/**
 * The command `queue-status`.
 *
 * @internal
 */
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as NodeJobQueue from "../node/NodeJobQueue.js"
import * as LearnedCadence from "../policy/LearnedCadence.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import * as Calls from "./commands.js"
import * as Completions from "./completions.js"
import { withoutEscapes } from "./console.js"
import * as Demo from "./demo/command.js"
import * as EmulatorCommand from "./emulator/command.js"
import * as Exit from "./exit.js"
import { printable } from "./text.js"
import { version } from "./version.js"
import * as Watch from "./watch/command.js"

const name = "queue-status"

/** The service that the environment names, by the proxy that it names. */
const Queue = JobWatcher.layer().pipe(
  Layer.provideMerge(Layer.mapError(NodeJobQueue.layer(), Exit.fromConfigError)),
  // a few jobs of a model say enough for a rough time left
  Layer.provideMerge(LearnedCadence.layer({ minSamples: 3 }))
)

const command = Command.make(name).pipe(
  Command.withDescription(
    "Watches jobs of Together AI's queue, and runs such a queue on this machine. The token is read from " +
      "TOGETHER_API_KEY, and where the service is from TOGETHER_BASE_URL, where that is set."
  ),
  Command.withSubcommands([
    EmulatorCommand.command,
    Command.provide(Calls.submit, Queue),
    Command.provide(Watch.command, Queue),
    Command.provide(Calls.result, Queue),
    Command.provide(Calls.cancel, Queue),
    Command.provide(Calls.clear, Queue),
    Command.provide(Calls.metrics, Queue),
    Command.provide(Demo.command, NodeHttpClient.layerUndici)
  ])
)

// `@effect/cli` takes `--name value` anywhere, and `--name=value` before the arguments alone.
const separated = (arg: string): ReadonlyArray<string> => {
  const [, option, value] = /^(--[a-z][a-z-]*)=(.*)$/s.exec(arg) ?? []
  return option === undefined || value === undefined ? [arg] : [option, value]
}

// Those that may be given several times are, without a value, not given at all to `@effect/cli`.
const unfinished = (args: ReadonlyArray<string>): string | undefined =>
  args.find((arg, i) => (arg === "--from" || arg === "--fault") && (args[i + 1] ?? "--").startsWith("--"))

const run = (argv: ReadonlyArray<string>) => {
  const [node = "", script = "", ...args] = argv
  const end = args.includes("--") ? args.indexOf("--") : args.length
  const options = args.slice(0, end).flatMap(separated)
  const shell = options[options.indexOf("--completions") + 1]
  if (options.includes("--completions") && (shell === "bash" || shell === "sh")) {
    return Effect.flatMap(Completions.bash(command, name), Console.log)
  }
  if (options.includes("--wizard") && !(process.stdin.isTTY && process.stdout.isTTY)) {
    return Effect.fail(Exit.usage("--wizard asks questions, and needs a terminal for that"))
  }
  const option = unfinished(options)
  return option === undefined
    ? Command.run(command, { name, version })([node, script, ...options, ...args.slice(end)])
    : Effect.fail(Exit.usage(`${option}: a value is missing`))
}

// Whoever reads what is shown may have seen enough (`| head -1`). Each write tells of that itself, but a stream whose
// errors nobody listens to ends the process.
process.stdout.on("error", () => {})

const toExit = (error: unknown): Exit.ExitWith =>
  // what is wrong with the arguments has been said
  ValidationError.isValidationError(error)
    ? Exit.silently(Exit.codes.usage)
    : error instanceof Exit.ExitWith
    ? error
    : new Exit.ExitWith({ code: Exit.codes.bug, message: String(error) })

// On standard error: in a pipe, standard output is for the lines alone.
const tell = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => Cause.isInterruptedOnly(cause) ? Effect.void : Console.error(Cause.pretty(cause)),
    onSome: (error) => {
      const { message } = toExit(error)
      return message === undefined ? Effect.void : Console.error(printable(`${name}: ${message}`))
    }
  })

let signal: NodeJS.Signals = "SIGINT"
process.once("SIGTERM", () => {
  signal = "SIGTERM"
})

const codeOf = (cause: Cause.Cause<unknown>): number =>
  Cause.isInterruptedOnly(cause)
    ? signal === "SIGTERM" ? Exit.codes.terminated : Exit.codes.interrupted
    : Option.match(Cause.failureOption(cause), {
      onNone: () => Exit.codes.bug,
      onSome: (error) => toExit(error).code
    })

Effect.consoleWith((console) =>
  run(process.argv).pipe(
    Effect.tapErrorCause(tell),
    Effect.withConsole(withoutEscapes(console, process))
  )
).pipe(
  Effect.provide(Layer.mergeAll(
    NodeContext.layer,
    // not among the lines
    Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
  )),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    teardown: (exit, onExit) => onExit(exit._tag === "Success" ? Exit.codes.done : codeOf(exit.cause))
  })
)
