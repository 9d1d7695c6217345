/** The options of a queue over HTTP: validated, and completed from the configuration and the defaults. @internal */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"

/** The options. Public types extend them, so they are not marked as internal: the build would leave them out. */
export interface Options {
  /** The bearer token. Whitespace around it is removed. Defaults to the configuration `TOGETHER_API_KEY`. */
  readonly apiKey?: Redacted.Redacted | undefined
  /**
   * The URL before the paths of the API, with `http` or `https`. Defaults to the configuration `TOGETHER_BASE_URL`, or,
   * if that is not set, to `https://api.together.ai/v1`.
   */
  readonly baseUrl?: string | undefined
  /** The maximum duration of a call, headers and body. Defaults to 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /**
   * The maximum size of a response body, in bytes, which includes the outputs of a job. A call with a longer response
   * fails with `ResponseTooLarge`, and its connection is closed. Defaults to 64 MiB. A bound above 512 MiB is reduced to
   * the longest string of V8, 536,870,888 bytes.
   */
  readonly maxResponseBytes?: number | undefined
}

const defaultBaseUrl = "https://api.together.ai/v1"

/** @internal */
export const defaultRequestTimeout: Duration.Duration = Duration.seconds(30)

const defaultMaxResponseBytes: number = 64 * 1024 * 1024

// V8's longest string: the text of a longer body can't be read.
const maxText = 2 ** 29 - 24

/** Its issues omit the URL: a malformed one may contain a password or a token. @internal */
export const checkBaseUrl = (baseUrl: string): Either.Either<string, string> => {
  if (!URL.canParse(baseUrl)) return Either.left("the base URL is not a URL")
  const { href, password, protocol, username } = new URL(baseUrl)
  if (username !== "" || password !== "") return Either.left("the base URL must not hold credentials")
  if (!/^https?:$/.test(protocol)) return Either.left("the base URL must begin with http:// or https://")
  if (/[?#]/.test(href)) return Either.left("the base URL must have neither a query nor a fragment")
  return Either.right(href)
}

/** @internal */
export const invalid = (...path: Array<string>) => (issue: string) => ConfigError.InvalidData(path, issue)

/** @internal */
export const checkCount = (option: string, count: number): Either.Either<number, ConfigError.ConfigError> =>
  Number.isSafeInteger(count) && count > 0
    ? Either.right(count)
    : Either.left(invalid(option)("the number must be a positive integer"))

/** @internal */
export const resolveToken = (
  path: Array<string>,
  token: Redacted.Redacted
): Either.Either<Redacted.Redacted, ConfigError.ConfigError> => {
  const text = Redacted.value(token).trim()
  return text === ""
    ? Either.left(invalid(...path)("the token must not be empty"))
    : /^[\x21-\x7e]+$/.test(text)
    ? Either.right(Redacted.make(text))
    : Either.left(invalid(...path)("the token must be printable ASCII without blanks"))
}

// Not `Config.redacted`: its error for a variable that is not set says `<redacted>`. `mapOrFail` adds the name to an error.
const environmentApiKey = Config.string("TOGETHER_API_KEY").pipe(
  Config.mapOrFail((text) => resolveToken([], Redacted.make(text)))
)

const environmentBaseUrl = Config.string("TOGETHER_BASE_URL").pipe(
  Config.withDefault(defaultBaseUrl),
  Config.mapOrFail((baseUrl) => Either.mapLeft(checkBaseUrl(baseUrl), invalid("TOGETHER_BASE_URL")))
)

/** The options of each request. @internal */
export const resolveRequest = (options: Pick<Options, "requestTimeout" | "maxResponseBytes">) =>
  Either.map(
    checkCount("maxResponseBytes", options.maxResponseBytes ?? defaultMaxResponseBytes),
    (maxResponseBytes) => ({
      requestTimeout: Duration.decode(options.requestTimeout ?? defaultRequestTimeout),
      maxResponseBytes: Math.min(maxResponseBytes, maxText)
    })
  )

/** @internal */
export const resolveUrl = (option: string, url: string): Either.Either<string, ConfigError.ConfigError> =>
  Either.mapLeft(checkBaseUrl(url), invalid(option))

/** As `Config.unwrap`, which throws if an option is `undefined`. @internal */
export const unwrap = <A>(options: Config.Config.Wrap<A>): Config.Config<A> =>
  Config.unwrap(
    Config.isConfig(options)
      ? options
      // the same type: its optional properties may be absent
      : Object.fromEntries(Object.entries(options).filter(([, option]) => option !== undefined)) as typeof options
  )

/** @internal */
export const resolve = (options: Options) =>
  Effect.gen(function*() {
    return {
      apiKey: options.apiKey === undefined
        ? yield* environmentApiKey
        : yield* resolveToken(["apiKey"], options.apiKey),
      baseUrl: options.baseUrl === undefined
        ? yield* environmentBaseUrl
        : yield* resolveUrl("baseUrl", options.baseUrl),
      ...(yield* resolveRequest(options))
    }
  })

/** @internal */
export type Settings = Effect.Effect.Success<ReturnType<typeof resolve>>
