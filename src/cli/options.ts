/**
 * Options that several commands have.
 *
 * @internal
 */
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Option from "effect/Option"
import { durationOf } from "./duration.js"

/** @internal */
export const json: Options.Options<boolean> = Options.boolean("json").pipe(
  Options.withDescription("lines of JSON, for programs")
)

/**
 * An option whose value is refused where it is not good.
 *
 * @internal
 */
export const checked = <A>(
  option: Options.Options<A>,
  isGood: (value: A) => boolean,
  issue: string
): Options.Options<A> =>
  Options.mapEffect(
    option,
    Either.liftPredicate(isGood, () => ValidationError.invalidValue(HelpDoc.p(issue)))
  )

/**
 * An option that is a time: `500ms`, `30s`, `1m30s`, `2h`.
 *
 * @internal
 */
export const duration = (name: string): Options.Options<Duration.Duration> =>
  Options.text(name).pipe(
    Options.withPseudoName("duration"),
    Options.mapEffect((text) =>
      Effect.mapError(
        durationOf(text),
        (error) => ValidationError.invalidValue(HelpDoc.p(`--${name}: ${error.message}`))
      )
    )
  )

/**
 * One that is longer than nothing.
 *
 * @internal
 */
export const positiveDuration = (name: string): Options.Options<Duration.Duration> =>
  checked(duration(name), Duration.greaterThan(Duration.zero), `--${name}: must be longer than nothing`)

/** @internal */
export const every: Options.Options<Option.Option<Duration.Duration>> = positiveDuration("every").pipe(
  Options.withDescription("poll at this pace; unless given, often at first and then less"),
  Options.optional
)

/** @internal */
export const timeout: Options.Options<Option.Option<Duration.Duration>> = positiveDuration("timeout").pipe(
  Options.withDescription("give up after so long; the job goes on. A day unless given"),
  Options.optional
)
