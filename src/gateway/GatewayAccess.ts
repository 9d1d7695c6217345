/**
 * Decides which clients of a gateway may watch which jobs.
 *
 * A token is in the header `authorization: Bearer …`. A watch token may also be in the query, `token=…`, since an
 * `EventSource` sends no headers.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { isSameJob } from "../model/internal/jobKey.js"
import { lastDate } from "../model/internal/limits.js"
import { JobRef } from "../model/Job.js"
import { AccessDenied } from "../model/QueueError.js"
import { isOneOf } from "./internal/secret.js"

/**
 * The token of a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Token {
  /** The text of the token. */
  readonly value: Redacted.Redacted
  /** Whether it was in the query, which servers and proxies write to their logs. */
  readonly isInQuery: boolean
}

/**
 * Succeeds if a client with this token, or with none, may watch the job. The gateway answers with the `httpStatus` of the
 * error: 401 without a valid token, 403 with one that is not for the job.
 *
 * @since 0.1.0
 * @category models
 */
export type Access = (token: Option.Option<Token>, job: JobRef) => Effect.Effect<void, AccessDenied>

const denied = (job: JobRef, httpStatus: 401 | 403, detail: string) =>
  new AccessDenied({ operation: "status", model: job.model, job, httpStatus, detail })

const invalid = (job: JobRef) => denied(job, 401, "the token is not valid")

/** An access that requires a token. */
const ofToken = (check: (token: Token, job: JobRef) => Effect.Effect<void, AccessDenied>): Access => (token, job) =>
  Option.isSome(token) ? check(token.value, job) : denied(job, 401, "a token is required")

/**
 * Allows a client with one of these tokens to watch every job: for other services of yours. To rotate a token, give the old
 * and the new one for a while.
 *
 * @example
 * import { Gateway, GatewayAccess } from "effect-queue-status/gateway"
 * import { Redacted } from "effect"
 *
 * const app = Gateway.httpApp({ access: GatewayAccess.bearer([Redacted.make("a-long-random-token")]) })
 *
 * @since 0.1.0
 * @category constructors
 */
export const bearer = (tokens: Arr.NonEmptyReadonlyArray<Redacted.Redacted>): Access =>
  ofToken(({ isInQuery, value }, job) =>
    Effect.flatMap(isOneOf(tokens, value), (isKnown) => !isInQuery && isKnown ? Effect.void : invalid(job))
  )

/**
 * What a watch token is for: one job, or all jobs of a model.
 *
 * @since 0.1.0
 * @category models
 */
export type Grant = { readonly job: JobRef } | { readonly model: string }

const Claims = Schema.Union(Schema.Struct({ job: JobRef }), Schema.Struct({ model: Schema.String }))

const decodeClaims = Schema.decodeUnknownEither(Claims)

// a peer that only these tokens need
const jose = Effect.promise(() =>
  import("jose").catch((cause: unknown) => {
    throw new Error("the watch tokens of GatewayAccess need the package jose: npm install jose@6", { cause })
  })
)

const keyOf = (secret: Redacted.Redacted): Uint8Array => new TextEncoder().encode(Redacted.value(secret))

/**
 * Signs a watch token, which a backend gives to a browser: a JWT (HS256) with the grant and an expiry. The secret should
 * have 32 random bytes or more. Requires the package `jose` (`npm install jose@6`), and dies without it.
 *
 * @example
 * import { GatewayAccess } from "effect-queue-status/gateway"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Redacted } from "effect"
 *
 * const secret = Redacted.make("a-long-random-secret-of-the-backend")
 *
 * const urlOf = (job: Job.JobRef) =>
 *   GatewayAccess.signWatchToken(secret, { job }, "10 minutes").pipe(
 *     Effect.map((token) => `/jobs/events?${new URLSearchParams({ job: `${job.model}/${job.requestId}`, token })}`)
 *   )
 *
 * @since 0.1.0
 * @category watch tokens
 */
export const signWatchToken = (
  secret: Redacted.Redacted,
  grant: Grant,
  expiresIn: Duration.DurationInput
): Effect.Effect<string> =>
  Effect.gen(function*() {
    const { SignJWT } = yield* jose
    const now = yield* Clock.currentTimeMillis
    const claims = "job" in grant
      ? { job: { model: grant.job.model, requestId: grant.job.requestId } }
      : { model: grant.model }
    return yield* Effect.promise(() =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: "HS256" })
        // JSON has no infinity
        .setExpirationTime(Math.ceil(Math.min(lastDate, now + Duration.toMillis(expiresIn)) / 1_000))
        .sign(keyOf(secret))
    )
  })

/**
 * Allows a client with a token of `signWatchToken` to watch what the token is for. To rotate a secret, give the new and the
 * old one until the last token of the old one has expired. Requires the package `jose` (`npm install jose@6`): without it,
 * a token is answered with 500, and the log says why.
 *
 * A token is checked when a stream begins; a stream outlives its token.
 *
 * @since 0.1.0
 * @category watch tokens
 */
export const watchTokens = (secrets: Arr.NonEmptyReadonlyArray<Redacted.Redacted>): Access =>
  ofToken(Effect.fnUntraced(function*({ value }, job) {
    const { errors, jwtVerify } = yield* jose
    const currentDate = DateTime.toDateUtc(yield* DateTime.now)
    const { payload } = yield* Effect.firstSuccessOf(
      secrets.map((secret) =>
        Effect.promise(() => jwtVerify(Redacted.value(value), keyOf(secret), { algorithms: ["HS256"], currentDate }))
          .pipe(
            // any other error is not about the token: the secret may be empty
            Effect.catchSomeDefect((error) =>
              error instanceof errors.JOSEError ? Option.some(invalid(job)) : Option.none()
            )
          )
      )
    )
    const claims = decodeClaims(payload)
    if (Either.isLeft(claims) || payload.exp === undefined) return yield* invalid(job)
    const grant = claims.right
    const isFor = "job" in grant ? isSameJob(grant.job, job) : grant.model === job.model
    if (!isFor) return yield* denied(job, 403, "the token is not for this job")
  }))

/**
 * Allows what one of the two allows. The error is a 403 if one of the two accepts the token, but not for this job; otherwise that
 * of the second.
 *
 * @since 0.1.0
 * @category combinators
 */
export const or: {
  (that: Access): (self: Access) => Access
  (self: Access, that: Access): Access
} = dual(
  2,
  (self: Access, that: Access): Access => (token, job) =>
    Effect.catchAll(
      self(token, job),
      (first) => Effect.mapError(that(token, job), (second) => first.httpStatus === 403 ? first : second)
    )
)
