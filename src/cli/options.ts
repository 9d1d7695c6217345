// Options that several commands have.
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { parse } from "../emulator/internal/duration.js"
import { checkBaseUrl } from "../queue/internal/options.js"

/** A value is wrong. */
export const invalid = (message: string): ValidationError.ValidationError =>
  ValidationError.invalidValue(HelpDoc.p(message))

export const json = Options.boolean("json").pipe(
  Options.withDescription("prints JSON, one object a line")
)

export const utc = Options.boolean("utc").pipe(
  Options.withDescription("prints times in UTC, not in the time zone of this machine")
)

/** An option that may be missing: then its value is `undefined`. */
export const optional = <A>(option: Options.Options<A>): Options.Options<A | undefined> =>
  Options.map(Options.optional(option), Option.getOrUndefined)

/** An option whose value must pass a check. */
export const checked = <A>(
  option: Options.Options<A>,
  isGood: (value: A) => boolean,
  issue: string
): Options.Options<A> => Options.mapEffect(option, Either.liftPredicate(isGood, () => invalid(issue)))

// The errors of `@effect/cli` for a number do not name the option.
const numeric = (kind: string, isGood: (value: number) => boolean, expected: string) => (name: string) =>
  Options.text(name).pipe(
    Options.withPseudoName(kind),
    Options.mapEffect((text) =>
      text.trim() !== "" && isGood(Number(text))
        ? Either.right(Number(text))
        : Either.left(invalid(`--${name}: "${text}" is not ${expected}`))
    )
  )

export const integer = numeric("integer", Number.isSafeInteger, "a whole number")

export const number = numeric("number", Number.isFinite, "a number")

export const positiveCount = (name: string): Options.Options<number> =>
  checked(integer(name), (count) => count > 0, `--${name}: must be 1 or more`)

export const duration = (name: string): Options.Options<Duration.Duration> =>
  Options.text(name).pipe(
    Options.withPseudoName("duration"),
    Options.mapEffect((text) => Either.mapLeft(parse(text), (issue) => invalid(`--${name}: ${issue}`)))
  )

export const positiveDuration = (name: string): Options.Options<Duration.Duration> =>
  checked(duration(name), Duration.greaterThan(Duration.zero), `--${name}: must be longer than nothing`)

export const every = positiveDuration("every").pipe(
  Options.withDescription("the poll interval; by default short at first and longer later"),
  optional
)

export const timeout = positiveDuration("timeout").pipe(
  Options.withDescription("gives up after this time; the job continues; by default a day"),
  optional
)

export const gateway = Options.text("gateway").pipe(
  Options.withPseudoName("url"),
  Options.mapEffect((url) => Either.mapLeft(checkBaseUrl(url), (issue) => invalid(`--gateway: ${issue}`))),
  Options.withDescription(
    "watches through the gateway at this URL, which has the token of the service; a token for the gateway is read from " +
      "JOB_GATEWAY_TOKEN"
  ),
  optional
)

export const host = Options.text("host").pipe(
  Options.withDescription("the address to listen at; by default 127.0.0.1, which other machines cannot reach"),
  Options.withDefault("127.0.0.1")
)

export const port = (usual: number): Options.Options<number> =>
  checked(integer("port"), (port) => port >= 0 && port <= 65_535, "--port: must be from 0 to 65535").pipe(
    Options.withDescription(`the port to listen at, 0 for any free one; by default ${usual}`),
    Options.withDefault(usual)
  )
