// `queue-status emulator`.
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Emulator from "../../emulator/Emulator.js"
import { isEverywhere } from "../../emulator/internal/server.js"
import * as Exit from "../exit.js"
import { checked, duration, host, json, port, positiveDuration } from "../options.js"
import { print } from "../terminal.js"
import { elapsed, jsonLine } from "../text.js"
import * as FaultSpec from "./faultSpec.js"
import { defaultProfile, toPool } from "./workerProfile.js"

const rate = (name: string) =>
  checked(Options.float(name), (rate) => rate >= 0 && rate <= 1, `--${name}: must be from 0 to 1`)

const withProfile = <A>(option: Options.Options<A>, about: string, usual: string) =>
  option.pipe(Options.withDescription(`with --simulate: ${about}; by default ${usual}`), Options.optional)

const profile = {
  workers: withProfile(
    checked(Options.integer("workers"), (count) => count > 0, "--workers: must be 1 or more"),
    "how many jobs of a model run at the same time",
    String(defaultProfile.workers)
  ),
  pickup: withProfile(
    duration("pickup"),
    "how long an idle worker takes to claim a job",
    Duration.format(defaultProfile.pickup)
  ),
  duration: withProfile(
    positiveDuration("duration"),
    "the median duration of an attempt",
    Duration.format(defaultProfile.duration)
  ),
  progressEvery: withProfile(
    positiveDuration("progress-every"),
    "how often a worker reports its progress",
    Duration.format(defaultProfile.progressEvery)
  ),
  failureRate: withProfile(
    rate("failure-rate"),
    "the fraction of the attempts that the model fails",
    String(defaultProfile.failureRate)
  ),
  lossRate: withProfile(
    rate("loss-rate"),
    "the fraction of the attempts whose worker stops responding",
    String(defaultProfile.lossRate)
  ),
  claimTimeout: withProfile(
    positiveDuration("claim-timeout"),
    "how long a claim lasts without a heartbeat; then the job is requeued",
    Duration.format(defaultProfile.claimTimeout)
  )
}

const options = {
  json,
  host,
  port: port(8484),
  simulate: Options.boolean("simulate").pipe(
    Options.withDescription("runs simulated workers; without it jobs wait for external workers")
  ),
  ...profile,
  seed: Options.text("seed").pipe(
    Options.withDescription("the seed of the simulated workers and of the faults with a probability"),
    Options.optional
  ),
  faults: Options.text("fault").pipe(
    Options.withPseudoName("fault"),
    Options.repeated,
    Options.mapEffect((specs) =>
      Effect.mapError(
        Either.all(specs.map(FaultSpec.parseFault)),
        ({ message }) => ValidationError.invalidValue(HelpDoc.p(`--fault ${message}`))
      )
    ),
    Options.withDescription(
      "a fault, such as \"rate-limited 30s on status probability 10%\"; may be repeated; --list-faults lists all"
    )
  ),
  listFaults: Options.boolean("list-faults").pipe(
    Options.withDescription("lists the faults and their conditions, and exits")
  ),
  tlsCert: Options.file("tls-cert").pipe(
    Options.withDescription("serves HTTPS, with the certificate in this PEM file; the service's worker requires it"),
    Options.optional
  ),
  tlsKey: Options.file("tls-key").pipe(
    Options.withDescription("the PEM file with the key of the certificate"),
    Options.optional
  ),
  retention: positiveDuration("retention").pipe(
    Options.withDescription("how long an ended job is kept; by default a day"),
    Options.optional
  )
}

type Given = Command.Command.ParseConfig<typeof options>

const profileOf = (given: Given): Either.Either<Option.Option<typeof defaultProfile>, Exit.ExitWith> => {
  const told = Object.entries(profile).flatMap(([name]) => {
    const value: Option.Option<unknown> = given[name as keyof typeof profile]
    return Option.isSome(value) ? [[name, value.value] as const] : []
  })
  if (given.simulate) return Either.right(Option.some({ ...defaultProfile, ...Object.fromEntries(told) }))
  return told.length === 0
    ? Either.right(Option.none())
    : Either.left(Exit.usage("the options of simulated workers have no effect: --simulate is missing"))
}

// From the environment: a list of processes shows the arguments.
const apiKeys = Config.array(Config.string(), "EMULATOR_API_KEYS").pipe(
  Config.map((keys) => keys.map((key) => key.trim()).filter((key) => key !== "").map((key) => Redacted.make(key))),
  Config.option,
  Effect.mapError(Exit.fromConfigError),
  Effect.filterOrFail(
    (keys) => Option.isNone(keys) || keys.value.length > 0,
    () => Exit.usage("EMULATOR_API_KEYS: there is no key in it")
  )
)

const tlsOf = (given: Given) =>
  Effect.gen(function*() {
    if (Option.isNone(given.tlsCert) && Option.isNone(given.tlsKey)) return undefined
    if (Option.isNone(given.tlsCert) || Option.isNone(given.tlsKey)) {
      return yield* Exit.usage("--tls-cert and --tls-key go together")
    }
    const files = yield* FileSystem.FileSystem
    const read = (file: string) => Effect.mapError(files.readFileString(file), Exit.fromPlatformError)
    return { cert: yield* read(given.tlsCert.value), key: yield* read(given.tlsKey.value) }
  })

const simulated = (given: typeof defaultProfile): string =>
  `${given.workers} simulated workers do the jobs of each model, each in about ${
    elapsed(Duration.toMillis(given.duration))
  }`

const emulate = (given: Given) =>
  Effect.gen(function*() {
    if (given.listFaults) return yield* print(FaultSpec.usage)
    const profile = yield* profileOf(given)
    const keys = yield* apiKeys
    const tls = yield* tlsOf(given)
    const { baseUrl, origin } = yield* Emulator.layer({
      host: given.host,
      port: given.port,
      workers: Option.getOrUndefined(Option.map(profile, toPool)),
      seed: Option.getOrUndefined(given.seed),
      // with faults, the emulator keeps every past snapshot of a job
      faults: given.faults.length > 0 ? given.faults : undefined,
      retention: Option.getOrUndefined(given.retention),
      tls,
      apiKeys: Option.getOrUndefined(keys)
    }).pipe(
      Layer.build,
      Effect.map(Context.get(Emulator.Emulator)),
      Effect.mapError(Exit.fromServeError(given))
    )
    yield* Console.error([
      `The queue is on this machine. A client uses it with`,
      `  export TOGETHER_BASE_URL=${baseUrl} TOGETHER_API_KEY=${
        Option.isSome(keys) ? "one-of-EMULATOR_API_KEYS" : "any"
      }`,
      Option.match(profile, {
        onNone: () => `Workers find it at ${origin}; without one, or --simulate, jobs wait.`,
        onSome: (profile) => `${simulated(profile)}; others find it at ${origin}.`
      }),
      ...given.faults.map((fault) => `What goes wrong: ${fault}`),
      ...(isEverywhere(given.host) ? ["It listens at every address of this machine."] : []),
      `Ctrl-C stops it, and forgets every job.`
    ].join("\n"))
    // for a program that started it and does not know the port
    yield* print(given.json ? jsonLine({ baseUrl, origin }) : baseUrl)
    return yield* Effect.never
  }).pipe(Effect.scoped)

export const command = Command.make("emulator", options, emulate).pipe(Command.withDescription(
  "Runs the queue on this machine, for clients and workers of any language. Prints its base URL when it is ready. If " +
    "EMULATOR_API_KEYS is set, a list with commas, it accepts these tokens only."
))
