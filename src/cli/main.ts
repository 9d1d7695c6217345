// The command `queue-status`: an entry point, where layers are provided.
// @effect-diagnostics strictEffectProvide:off
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as GatewayClient from "../gateway/GatewayClient.js"
import * as NodeJobQueue from "../node/NodeJobQueue.js"
import type * as LearnedCadence from "../policy/LearnedCadence.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import * as Calls from "./commands.js"
import * as Completions from "./completions.js"
import * as Demo from "./demo/command.js"
import * as EmulatorCommand from "./emulator/command.js"
import * as Exit from "./exit.js"
import * as Help from "./help.js"
import * as Runner from "./runner/command.js"
import * as Serve from "./serve/command.js"
import { withoutEscapes } from "./terminal.js"
import { printable, unknown } from "./text.js"
import * as Watch from "./watch/command.js"

const { name, version } = Help

/** The service and the proxy that the environment configures. */
const Service = Layer.mapError(NodeJobQueue.layer(), Exit.fromConfigError)

const Queue = JobWatcher.layer().pipe(
  Layer.provideMerge(Service),
  Layer.provideMerge(Serve.Learned)
)

/** A watcher behind a gateway, or that of the service. */
const watcherBy = ({ gateway }: { readonly gateway: Option.Option<string> }) =>
  Option.match(gateway, {
    onNone: (): Layer.Layer<JobWatcher.JobWatcher | LearnedCadence.LearnedCadence, Exit.ExitWith> => Queue,
    onSome: (url) =>
      Config.option(Config.redacted("JOB_GATEWAY_TOKEN")).pipe(
        Effect.map((token) => GatewayClient.layer({ url, token: Option.getOrUndefined(token) })),
        Layer.unwrapEffect,
        Layer.mapError(Exit.fromConfigError),
        Layer.provide(NodeHttpClient.layerUndici),
        Layer.provideMerge(Serve.Learned)
      )
  })

// that there is no free port on this machine is as unexpected as a bug
const EmulatedQueue = Layer.orDie(Layer.provide(Serve.EmulatedQueue, NodeHttpClient.layerUndici))

const unknownCommand = (word: string): Exit.ExitWith => Exit.usage(unknown("command", word, Help.commands))

const showHelp = (topic: string | undefined): Effect.Effect<void, Exit.ExitWith> =>
  topic === undefined || Help.commands.includes(topic)
    ? Console.log(Help.page(command.descriptor, topic))
    : Effect.fail(unknownCommand(topic))

const help = Command.make(
  "help",
  { topic: Args.text({ name: "command" }).pipe(Args.withDescription("a command"), Args.optional) },
  ({ topic }) => showHelp(Option.getOrUndefined(topic))
).pipe(Command.withDescription("Prints the help of a command."))

const command = Command.make(name).pipe(
  Command.withDescription(
    "Watches jobs of Together AI's queue, and runs such a queue on this machine. The token of the service is read from " +
      "TOGETHER_API_KEY. TOGETHER_BASE_URL is the address of another service, such as the emulator."
  ),
  Command.withSubcommands([
    Command.provide(Calls.submit, Queue),
    Command.provide(Calls.status, Queue),
    Command.provide(Calls.why, Queue),
    Command.provide(Watch.command, watcherBy),
    Command.provide(Calls.result, watcherBy),
    Command.provide(Calls.cancel, Queue),
    Command.provide(Calls.clear, Queue),
    Command.provide(Calls.metrics, Queue),
    Command.provide(Serve.command, ({ isSimulated }): typeof Queue => isSimulated ? EmulatedQueue : Queue),
    Command.provide(Runner.command, (settings) => Layer.provide(Runner.layer(settings), Service)),
    Command.provide(Runner.migrate, Runner.Database),
    EmulatorCommand.command,
    Command.provide(Demo.command, NodeHttpClient.layerUndici),
    help
  ])
)

// `@effect/cli` takes `--name value` anywhere, and `--name=value` before the arguments alone.
const separated = (arg: string): ReadonlyArray<string> => {
  const [, option, value] = /^(--[a-z][a-z-]*)=(.*)$/s.exec(arg) ?? []
  return option === undefined || value === undefined ? [arg] : [option, value]
}

// `@effect/cli` takes a repeated option without a value for one that is not given.
const unfinished = (args: ReadonlyArray<string>): string | undefined =>
  args.find((arg, i) => (arg === "--from" || arg === "--fault") && (args[i + 1] ?? "--").startsWith("--"))

/** What is wrong with the names of the command and its options, with the nearest known name. */
const misspelled = (words: ReadonlyArray<string>): Exit.ExitWith | undefined => {
  const topic = words.find((word) => !word.startsWith("-"))
  if (topic !== undefined && words[0] === topic && !Help.commands.includes(topic)) return unknownCommand(topic)
  const known = Help.optionsOf(command.descriptor, words[0] === topic ? topic : undefined)
  const option = words.map((word) => /^--?[a-z][^=]*/i.exec(word)?.[0])
    .find((option) => option !== undefined && !known.includes(option))
  return option === undefined ? undefined : Exit.usage(unknown("option", option, known))
}

const completions: { readonly [shell: string]: typeof Completions.bash } = {
  bash: Completions.bash,
  sh: Completions.bash,
  zsh: Completions.zsh
}

const run = ([node = "", script = "", ...args]: ReadonlyArray<string>) => {
  const end = args.includes("--") ? args.indexOf("--") : args.length
  const words = args.slice(0, end)
  const wrong = misspelled(words)
  if (wrong !== undefined) return Effect.fail(wrong)
  if (words.length === 0 || words.includes("--help") || words.includes("-h")) {
    return showHelp(words.find((word) => Help.commands.includes(word)))
  }
  const options = words.flatMap(separated)
  const shell = options[options.indexOf("--completions") + 1]
  if (options.includes("--completions") && shell !== undefined && Object.hasOwn(completions, shell)) {
    return Effect.flatMap(completions[shell]!(command, name), Console.log)
  }
  if (options.includes("--wizard") && !(process.stdin.isTTY && process.stdout.isTTY)) {
    return Effect.fail(Exit.usage("--wizard asks questions, and needs a terminal for that"))
  }
  const option = unfinished(options)
  return option === undefined
    ? Command.run(command, { name, version })([node, script, ...options, ...args.slice(end)])
    : Effect.fail(Exit.usage(`${option}: a value is missing`))
}

// A closed output fails the write that finds it (`| head -1`). Without a listener its error would end the process too.
process.stdout.on("error", () => {})

const toExit = (error: unknown): Exit.ExitWith =>
  // `@effect/cli` has printed it
  ValidationError.isValidationError(error)
    ? Exit.silently(Exit.codes.usage)
    : error instanceof Exit.ExitWith
    ? error
    : new Exit.ExitWith({ code: Exit.codes.bug, message: String(error) })

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
    // standard output is for results
    Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
  )),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true, // it writes to standard output
    teardown: (exit, onExit) => onExit(exit._tag === "Success" ? Exit.codes.done : codeOf(exit.cause))
  })
)
