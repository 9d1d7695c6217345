/**
 * The status call, which is most of what a program asks for. Its request is prepared once a job, a response like the
 * last one is not parsed again, and all pending calls share one timer.
 *
 * @internal
 */
import * as Headers from "@effect/platform/Headers"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { JobRef, JobStatus } from "../../model/Job.js"
import { type QueueError, ResponseTimeout } from "../../model/QueueError.js"
import * as Fiber from "./fiber.js"
import { checkRef } from "./request.js"
import * as Answer from "./response.js"
import { decodeText } from "./responseBody.js"
import { type Entry, ResponseCache } from "./responseCache.js"
import type { Scrub } from "./scrubber.js"
import { ServerClock } from "./serverClock.js"
import { type Expiring, SharedTimeout } from "./sharedTimeout.js"
import { annotate } from "./span.js"

/** Headers as a transport reports them, by lower-case names. @internal */
export type RawHeaders = Record<string, string | ReadonlyArray<string> | undefined>

/** @internal */
export type Outcome = Effect.Effect<JobStatus, QueueError>

/** What the calls to a service have in common. @internal */
export interface Connection {
  readonly scrub: Scrub
  readonly requestTimeout: Duration.Duration
  readonly maxResponseBytes: number
  /** Whether the service ever responded. */
  hasAnswered: boolean
  /** The error of a response that is not a success. */
  readonly toError: (about: Answer.About, response: Answer.Response, scrub: Scrub) => QueueError
}

/** The outcomes of a request. @internal */
export interface Outcomes<Request> {
  /** A response with its body. That of an error may be incomplete. */
  readonly received: (entry: Entry<Request>, httpStatus: number, headers: RawHeaders, body: Uint8Array) => Outcome
  /** A success whose body is longer than `maxResponseBytes`. */
  readonly tooLarge: (entry: Entry<Request>, httpStatus: number) => Outcome
  /** No response, or an incomplete success. `reason` stands for a cause without a text. */
  readonly lost: (entry: Entry<Request>, cause: unknown, reason: string) => Outcome
}

/** A way to send requests. @internal */
export interface Transport<Request> {
  readonly prepare: (job: JobRef) => Request
  /** Sends a request for a fiber, reports its outcome once, and returns an effect that stops it and waits for its end. */
  readonly send: (
    entry: Entry<Request>,
    report: (outcome: Outcome) => void,
    caller: Fiber.Fiber<JobStatus, QueueError>
  ) => Effect.Effect<void>
}

// The size of the cache of responses, for all jobs together.
const maxCached = 32 * 1024 * 1024

/** @internal */
export const makeStatus = <Request>(
  connection: Connection,
  transportOf: (outcomes: Outcomes<Request>) => Transport<Request>
) =>
  Effect.map(Fiber.runtime, (runtime) => {
    const { maxResponseBytes, requestTimeout, scrub, toError } = connection
    const cache = new ResponseCache<Request>(maxCached)
    const clock = new ServerClock()

    const about = ({ job }: Entry<Request>): Answer.About => ({ operation: "status", model: job.model, job })

    const received = (entry: Entry<Request>, httpStatus: number, headers: RawHeaders, body: Uint8Array): Outcome => {
      connection.hasAnswered = true
      const refuse = (errorOf: (response: Answer.Response) => QueueError) =>
        Effect.flatMap(
          Answer.toResponse(httpStatus, Headers.fromInput(headers), body),
          (response) => Effect.fail(errorOf(response))
        )
      if (!Answer.isOk(httpStatus)) return refuse((response) => toError(about(entry), response, scrub))
      const text = decodeText(body, headers["content-encoding"])
      if (entry.status !== undefined && entry.text === text) return Effect.succeed(entry.status)
      const status = Answer.decode(text, Answer.decodeStatus(entry.job))
      if (Either.isLeft(status)) {
        return refuse((response) => Answer.undecoded(about(entry), response, status.left, scrub))
      }
      cache.set(entry, text, status.right)
      return Effect.succeed(status.right)
    }

    const { prepare, send } = transportOf({
      received: (entry, httpStatus, headers, body) => {
        const outcome = received(entry, httpStatus, headers, body)
        const date = clock.newDate(headers)
        // within a second, all responses have the same
        return date === undefined ? outcome : Effect.flatMap(Clock.currentTimeMillis, (now) => {
          clock.set(date, now)
          return outcome
        })
      },
      tooLarge: (entry, httpStatus) => {
        connection.hasAnswered = true
        return Effect.fail(Answer.tooLarge(about(entry), httpStatus, maxResponseBytes))
      },
      lost: (entry, cause, reason) =>
        Effect.fail(Answer.unreachable(about(entry), cause, reason, connection.hasAnswered, scrub))
    })

    // Time is measured by the caller's clock: one timer for each clock, of which there is usually one.
    const millis = Duration.toMillis(requestTimeout)
    const byClock = new WeakMap<Clock.Clock, SharedTimeout>()
    const timeoutBy = (clock: Clock.Clock): SharedTimeout => {
      const known = byClock.get(clock)
      if (known !== undefined) return known
      const timeout = new SharedTimeout(clock, millis, runtime)
      byClock.set(clock, timeout)
      return timeout
    }

    const ask = (entry: Entry<Request>, caller: Fiber.Fiber<JobStatus, QueueError>): Outcome =>
      Effect.uninterruptibleMask((restore) => {
        const timeout = millis === Infinity ? undefined : timeoutBy(Fiber.clockOf(caller))
        let expiring: Expiring | undefined
        /** Until there is an outcome. */
        let stop: Effect.Effect<void> | undefined
        const leave = () => {
          stop = undefined
          if (expiring !== undefined) timeout?.delete(expiring)
        }
        const response: Outcome = Effect.async((resume) => {
          let isPending = true
          const settle = (outcome: Outcome) => {
            isPending = false
            leave()
            resume(outcome)
          }
          const stopRequest = send(entry, settle, caller)
          if (!isPending) return
          stop = stopRequest
          expiring = timeout?.add(() => {
            // a request that can't be interrupted must not delay the timeout
            const stopping = Fiber.fork(runtime, stopRequest)
            const error = new ResponseTimeout({ ...about(entry), after: requestTimeout })
            settle(Effect.zipRight(Fiber.awaitEnd(stopping), Effect.fail(error)))
          })
        })
        // Not a finalizer of `Effect.async`: V8 takes what it consists of for long-lived, and with it the whole request.
        return Effect.catchAllCause(restore(response), (cause) => {
          const stopping = stop ?? Effect.void
          leave()
          return Effect.zipRight(stopping, Effect.failCause(cause))
        })
      })

    const poll = (input: JobRef): Outcome =>
      Fiber.withSelf((caller) => {
        // a cached job was validated when it was first requested
        const entry = cache.find(input)
        if (entry !== undefined) return ask(entry, caller)
        return Effect.flatMap(checkRef("status", input), (job) =>
          ask(
            { job, request: prepare(job), text: undefined, status: undefined, isLarge: false, isUsed: false },
            caller
          ))
      })

    const traced = Effect.fn("JobQueue.status")(function*(input: JobRef) {
      const job = yield* checkRef("status", input)
      yield* annotate(job.model, job.requestId)
      return yield* poll(job)
    })

    return {
      status: (input: JobRef): Outcome =>
        Fiber.withSelf((fiber) => Fiber.isTraced(fiber) ? traced(input) : poll(input)),
      clockAhead: () => clock.ahead
    }
  })
