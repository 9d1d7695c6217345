// The command `queue-status` on a line of arguments, with the layers of each subcommand.
// @effect-diagnostics strictEffectProvide:off
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as Terminal from "@effect/platform/Terminal"
import * as Cause from "effect/Cause"
import type { ConfigError } from "effect/ConfigError"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
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
import { print, withoutEscapes } from "./terminal.js"
import { printable, printableLines, unknown } from "./text.js"
import * as Watch from "./watch/command.js"

const { name, version } = Help

/** The service and the proxy that the environment configures. */
const Service = NodeJobQueue.layer()

const Queue = JobWatcher.layer().pipe(
  Layer.provideMerge(Service),
  Layer.provideMerge(Serve.Learned)
)

/** A watcher behind a gateway, or that of the service. */
const watcherBy = (
  { gateway: url }: { readonly gateway: string | undefined }
): Layer.Layer<JobWatcher.JobWatcher | LearnedCadence.LearnedCadence, ConfigError> =>
  url === undefined ? Queue : Layer.unwrapEffect(
    Effect.map(Serve.token, (token) => GatewayClient.layer({ url, token }))
  ).pipe(
    Layer.provide(NodeHttpClient.layerUndici),
    Layer.provideMerge(Serve.Learned)
  )

const unknownCommand = (word: string): Exit.ExitWith => Exit.usage(unknown("command", word, Help.commands))

const showHelp = (topic: string | undefined): Effect.Effect<void, Exit.ExitWith, Terminal.Terminal> =>
  topic === undefined || Help.commands.includes(topic)
    ? print(Help.page(command.descriptor, topic))
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
    Command.provide(Serve.command, ({ isSimulated }): typeof Queue => isSimulated ? Serve.EmulatedQueue : Queue),
    Command.provide(Runner.command, Service),
    Runner.migrate,
    EmulatorCommand.command,
    Demo.command,
    help
  ])
)

// `@effect/cli` takes `--name value` anywhere, and `--name=value` before the arguments alone.
const separated = (arg: string): ReadonlyArray<string> => {
  const [, option, value] = /^(--[a-z][a-z-]*)=(.*)$/s.exec(arg) ?? []
  return option === undefined || value === undefined ? [arg] : [option, value]
}

/** Fails if there is no such command, or if it has no such option, with the nearest known name. */
const checkNames = (words: ReadonlyArray<string>): Effect.Effect<void, Exit.ExitWith> => {
  // `--log-level` may come before the command, with its value
  const topic = words[0]?.startsWith("-") ? words.find((word) => Help.commands.includes(word)) : words[0]
  if (topic !== undefined && !Help.commands.includes(topic)) return Effect.fail(unknownCommand(topic))
  const known = Help.optionsOf(command.descriptor, topic)
  const option = words
    .map((word, i) => known.get(words[i - 1] ?? "") === true ? undefined : /^--?[a-z][^=]*/i.exec(word)?.[0])
    .find((option) => option !== undefined && !known.has(option))
  return option === undefined
    ? Effect.void
    : Effect.fail(Exit.usage(unknown("option", option, Array.from(known.keys()))))
}

/** The options that take one of several words. `@effect/cli` takes another word for a command. */
const choices: { readonly [option: string]: ReadonlyArray<string> } = {
  "--log-level": LogLevel.allLevels.map(({ _tag }) => _tag.toLowerCase()),
  "--completions": [...Object.keys(Completions.scripts), "fish"]
}

const runArguments = ([node = "", script = "", ...args]: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const end = args.includes("--") ? args.indexOf("--") : args.length
    const words = args.slice(0, end)
    yield* checkNames(words)
    if (words.length === 0 || words.includes("--help") || words.includes("-h")) {
      return yield* showHelp(words.find((word) => Help.commands.includes(word)))
    }
    const options = words.flatMap(separated)
    for (const [option, known] of Object.entries(choices)) {
      if (!options.includes(option)) continue
      const value = options[options.indexOf(option) + 1]
      if (value === undefined) return yield* Exit.usage(`${option}: a value is missing`)
      if (!known.includes(value)) return yield* Exit.usage(`${option}: ${unknown("value", value, known)}`)
    }
    const shell = options[options.indexOf("--completions") + 1]
    if (options.includes("--completions") && shell !== undefined && Object.hasOwn(Completions.scripts, shell)) {
      return yield* Effect.flatMap(Completions.scripts[shell]!(command, name), print)
    }
    if (options.includes("--wizard") && !(process.stdin.isTTY && process.stdout.isTTY)) {
      return yield* Exit.usage("--wizard asks questions, and needs a terminal for that")
    }
    // `@effect/cli` takes a repeated option without a value for one that is not given
    const unfinished = options.find((option, i) =>
      (option === "--from" || option === "--fault") && (options[i + 1] ?? "--").startsWith("--")
    )
    if (unfinished !== undefined) return yield* Exit.usage(`${unfinished}: a value is missing`)
    return yield* Command.run(command, { name, version })([node, script, ...options, ...args.slice(end)])
  })

/** How the command ends, by its code and its last message. */
export const toExit = (cause: Cause.Cause<unknown>): Exit.ExitWith => {
  if (Cause.isInterruptedOnly(cause)) return Exit.silently(Exit.codes.interrupted)
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  return error instanceof Exit.ExitWith
    ? error
    : new Exit.ExitWith({ code: Exit.codes.bug, message: Cause.pretty(cause) })
}

const printMessage = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const { code, message } = toExit(cause)
  const escaped = code === Exit.codes.bug ? printableLines : printable // a bug has a stack
  return message === undefined ? Effect.void : Console.error(escaped(`${name}: ${message}`))
}

/** Runs the command, and prints why it failed. */
export const run = (argv: ReadonlyArray<string>) =>
  Effect.consoleWith((console) =>
    runArguments(argv).pipe(
      Effect.mapError(Exit.fromFailure),
      Effect.tapErrorCause(printMessage),
      Effect.withConsole(withoutEscapes(console, process))
    )
  )
