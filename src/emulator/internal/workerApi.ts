/**
 * The worker side of the queue, for the service's worker runtime. Only the emulator serves it; no client needs it.
 *
 * @internal
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { errorBody } from "../../api/internal/errorBody.js"
import { Authorization } from "../../api/QueueApi.js"
import { JsonObject, ModelName, RequestId } from "../../model/Job.js"
import { renamed } from "../../queue/internal/wire.js"
import { parse } from "./duration.js"

/** The maximum time that a worker waits for a job: 5 minutes. A longer `timeout` is reduced to this. */
const maxPollTime: Duration.Duration = Duration.minutes(5)

/** The maximum duration of a claim: 30 days. */
const maxClaimTimeout: Duration.Duration = Duration.days(30)

/**
 * The default duration of a claim: one day. A worker that does not set it sends no heartbeats while it works.
 *
 * @internal
 */
export const defaultClaimTimeout: Duration.Duration = Duration.days(1)

const durationText = (
  expected: string,
  parse: (text: string) => Either.Either<Duration.Duration, unknown>
): Schema.Schema<Duration.Duration, string> =>
  Schema.transformOrFail(Schema.String.annotations({ description: expected }), Schema.DurationFromSelf, {
    strict: true,
    decode: (text, _, ast) =>
      Either.mapLeft(parse(text), () => new ParseResult.Type(ast, text, `not ${expected}: "${text}"`)),
    encode: (duration) => ParseResult.succeed(String(Duration.toSeconds(duration)))
  })

const isNumber = (text: string): boolean => /^\d+(?:\.\d+)?$/.test(text)

/** How long a worker waits for a job. Without it, the worker does not wait. */
const PollTime = durationText(
  "a time such as 5s, 500ms or 1m30s, or a number of seconds",
  (text) => Either.map(parse(isNumber(text) ? `${text}s` : text), Duration.min(maxPollTime))
)

/** How long a claim lasts from the last heartbeat. */
const ClaimTimeout = durationText(
  "a number of seconds, more than 0 and up to 2592000 (30 days)",
  (text) =>
    Either.liftPredicate(
      Duration.millis(isNumber(text) ? Math.round(Number(text) * 1_000) : 0),
      Duration.between({ minimum: Duration.millis(1), maximum: maxClaimTimeout }),
      () => "is out of range"
    )
)

/** The claimed job; empty if there was none within `timeout`. */
const RetrieveResponse = Schema.Struct({
  data: Schema.optional(Schema.Struct({
    request_id: RequestId,
    model: ModelName,
    payload: JsonObject,
    info: Schema.optional(JsonObject),
    priority: Schema.optional(Schema.Int),
    retries: Schema.optional(Schema.NonNegativeInt),
    created_at: Schema.optional(Schema.String),
    claimed_at: Schema.optional(Schema.String)
  }))
}).annotations({ identifier: "RetrieveResponse" })

/**
 * A worker's update of its job: a heartbeat (`running`), with notes in `info`; or the end of the job, with the outputs
 * in `payload`.
 *
 * @internal
 */
export const UpdateRequest = Schema.Struct({
  model: ModelName,
  requestId: renamed(RequestId, "request_id"),
  status: Schema.Literal("running", "done", "failed").annotations({
    message: () => ({ message: "must be running, done or failed", override: true })
  }),
  payload: Schema.optional(Schema.NullOr(JsonObject)),
  info: Schema.optional(Schema.NullOr(JsonObject))
}).annotations({ identifier: "UpdateRequest" })

const retrieve = HttpApiEndpoint.get("retrieve", "/internal/v1/queue/retrieve")
  .setUrlParams(Schema.Struct({
    model: ModelName,
    timeout: Schema.optional(PollTime),
    hostname: Schema.optional(Schema.String),
    claim_timeout: Schema.optional(ClaimTimeout)
  }))
  .addSuccess(RetrieveResponse)
  .addError(errorBody(400))
  .addError(errorBody(500))
  .annotate(
    OpenApi.Description,
    "Claims the next job of a model: at once, or as soon as there is one. Answers without `data` after `timeout`."
  )

const update = HttpApiEndpoint.post("update", "/internal/v1/videos/status")
  .setPayload(UpdateRequest)
  .addSuccess(JsonObject)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(
    OpenApi.Description,
    "A worker's sign of life, or the end of its job. Changes nothing where no worker has the job any more."
  )

/**
 * The two endpoints, at the root of the host. An update identifies its job and not its claim: a late one counts for the
 * current claim, and has no effect if there is none.
 *
 * @internal
 */
export const WorkerApi = HttpApiGroup.make("worker").add(retrieve).add(update).middleware(Authorization)
