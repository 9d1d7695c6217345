// `queue-status emulator`.
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Record from "effect/Record"
import * as Redacted from "effect/Redacted"
import * as Emulator from "../../emulator/Emulator.js"
import { isEverywhere } from "../../emulator/internal/server.js"
import * as Exit from "../exit.js"
import {
  checked,
  duration,
  host,
  invalid,
  json,
  number,
  optional,
  port,
  positiveCount,
  positiveDuration
} from "../options.js"
import { print } from "../terminal.js"
import { elapsed, jsonLine } from "../text.js"
import * as FaultSpec from "./faultSpec.js"
import { defaultProfile, type Profile, toPool } from "./workerProfile.js"

const rate = (name: string) => checked(number(name), (rate) => rate >= 0 && rate <= 1, `--${name}: must be from 0 to 1`)

/** An option of the simulated workers. Its default is in its description: whether it is given must be known. */
const simulated = <K extends keyof Profile>(
  key: K,
  option: (name: string) => Options.Options<Profile[K]>,
  about: string
): Options.Options<Profile[K] | undefined> => {
  const usual = defaultProfile[key]
  return option(key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)).pipe(
    Options.withDescription(
      `with --simulate: ${about}; by default ${typeof usual === "number" ? usual : Duration.format(usual)}`
    ),
    optional
  )
}

const profile = {
  workers: simulated("workers", positiveCount, "how many jobs of a model run at the same time"),
  pickup: simulated("pickup", duration, "how long an idle worker takes to claim a job"),
  duration: simulated("duration", positiveDuration, "the median duration of an attempt"),
  progressEvery: simulated("progressEvery", positiveDuration, "how often a worker reports its progress"),
  failureRate: simulated("failureRate", rate, "the fraction of the attempts that the model fails"),
  lossRate: simulated("lossRate", rate, "the fraction of the attempts whose worker stops responding"),
  claimTimeout: simulated(
    "claimTimeout",
    positiveDuration,
    "how long a claim lasts without a heartbeat; then the job is requeued"
  )
}

const options = {
  json,
  host,
  port: port(8484),
  simulate: Options.boolean("simulate").pipe(
    Options.withDescription("runs simulated workers; without it jobs wait for external workers")
  ),
  profile,
  seed: Options.text("seed").pipe(
    Options.withDescription("the seed of the simulated workers and of the faults with a probability"),
    optional
  ),
  faults: Options.text("fault").pipe(
    Options.withPseudoName("fault"),
    Options.repeated,
    Options.mapEffect((specs) =>
      Either.all(
        specs.map((spec) =>
          Either.mapLeft(FaultSpec.parseFault(spec), (issue) => invalid(`--fault "${spec}": ${issue}`))
        )
      )
    ),
    Options.withDescription(
      "a fault, such as \"rate-limited 30s on status probability 10%\"; may be repeated; --list-faults lists all"
    )
  ),
  listFaults: Options.boolean("list-faults").pipe(
    Options.withDescription("lists the faults and their conditions, and exits")
  ),
  tlsCert: Options.fileText("tls-cert").pipe(
    Options.withDescription("serves HTTPS, with the certificate in this PEM file; the service's worker requires it"),
    optional
  ),
  tlsKey: Options.fileText("tls-key").pipe(
    Options.withDescription("the PEM file with the key of the certificate"),
    optional
  ),
  retention: positiveDuration("retention").pipe(
    Options.withDescription("how long an ended job is kept; by default a day"),
    optional
  )
}

type Given = Command.Command.ParseConfig<typeof options>

// From the environment: a list of processes shows the arguments.
const configuredKeys = Config.array(Config.string(), "EMULATOR_API_KEYS").pipe(
  Config.map((keys) => keys.map((key) => key.trim()).filter((key) => key !== "").map((key) => Redacted.make(key))),
  Config.withDefault(undefined),
  Effect.filterOrFail(
    (keys) => keys?.length !== 0,
    () => Exit.usage("EMULATOR_API_KEYS: there is no key in it")
  )
)

const emulate = (given: Given) =>
  Effect.gen(function*() {
    if (given.listFaults) return yield* print(FaultSpec.usage)
    const values = Record.filter(given.profile, Predicate.isNotUndefined)
    if (!given.simulate && !Record.isEmptyRecord(values)) {
      return yield* Exit.usage("the options of simulated workers have no effect: --simulate is missing")
    }
    const tls = given.tlsCert && given.tlsKey && { cert: given.tlsCert[1], key: given.tlsKey[1] }
    if (tls === undefined && (given.tlsCert ?? given.tlsKey) !== undefined) {
      return yield* Exit.usage("--tls-cert and --tls-key go together")
    }
    const profile: Profile | undefined = given.simulate ? { ...defaultProfile, ...values } : undefined
    const apiKeys = yield* configuredKeys
    const { baseUrl, origin } = yield* Emulator.layer({
      host: given.host,
      port: given.port,
      workers: profile && toPool(profile),
      seed: given.seed,
      // with faults, the emulator keeps every past snapshot of a job
      faults: given.faults.length > 0 ? given.faults : undefined,
      retention: given.retention,
      tls,
      apiKeys
    }).pipe(
      Layer.build,
      Effect.map(Context.get(Emulator.Emulator)),
      Effect.mapError(Exit.fromServeError(given))
    )
    yield* Console.error([
      `The queue is on this machine. A client uses it with`,
      `  export TOGETHER_BASE_URL=${baseUrl} TOGETHER_API_KEY=${apiKeys ? "one-of-EMULATOR_API_KEYS" : "any"}`,
      profile === undefined
        ? `Workers find it at ${origin}; without one, or --simulate, jobs wait.`
        : `${profile.workers} simulated workers do the jobs of each model, each in about ` +
          `${elapsed(Duration.toMillis(profile.duration))}; others find it at ${origin}.`,
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
