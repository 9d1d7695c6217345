/**
 * A page in a browser that shows the jobs of this process: state, attempt, progress, ages and troubles, live, and the
 * transitions of each job.
 *
 * The jobs are those that are watched with the `JobWatcher` of the layer, by whatever part of the program, and those that
 * the user of a page adds by name, for as long as the page is open. What the program watches is shown without a request
 * to the service.
 *
 * The board does not ask who its users are: put your own authentication in front of it.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Job from "../model/Job.js"
import * as Deadline from "../policy/Deadline.js"
import * as LearnedCadence from "../policy/LearnedCadence.js"
import { Default } from "../policy/WatchPolicy.js"
import { logDefects } from "../queue/internal/defects.js"
import { clockAheadOf } from "../queue/internal/hidden.js"
import { explain } from "../telemetry/internal/explanation.js"
import { observed } from "../watch/internal/observed.js"
import { JobWatcher } from "../watch/JobWatcher.js"
import { type Entry, Jobs } from "./internal/boardJobs.js"
import { refusal, writeTo } from "./internal/boardStream.js"
import { Connections } from "./internal/connections.js"
import { respondToDefects } from "./internal/defects.js"
import { limitOf } from "./internal/limit.js"
import { GatewayOutput, type Output } from "./internal/output.js"
import * as Page from "./internal/page.js"
import { maxJobs as maxAdded, paramsOf, pathOf } from "./internal/request.js"
import * as Response from "./internal/response.js"
import { latest } from "./internal/snapshot.js"
import { encodersOf } from "./internal/view.js"

/**
 * The options of the board.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How many jobs are shown. Beyond that, the oldest that have ended, or are no longer watched, are removed; if there are
   * none, the page shows how many jobs it leaves out. Defaults to 1,000.
   */
  readonly maxJobs?: number | undefined
}

/**
 * The operations of the board.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The page and its data. */
  readonly httpApp: HttpApp.Default<never, Scope.Scope>
}

/**
 * The board of this process.
 *
 * @since 0.1.0
 * @category context
 */
export class Board extends Context.Tag("effect-queue-status/Board")<Board, Service>() {}

const maxPages = 100

const secure = HttpServerResponse.setHeaders({
  "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
})

const file = (contentType: string, text: string) =>
  HttpServerResponse.text(text, { contentType, headers: { "cache-control": "no-cache" } })

const files: { readonly [path: string]: HttpServerResponse.HttpServerResponse } = {
  "/": file("text/html; charset=utf-8", Page.html),
  "/board.css": file("text/css; charset=utf-8", Page.css),
  "/board.js": file("text/javascript; charset=utf-8", Page.js)
}

const notFound = (message: string) => Response.json({ _tag: "NotFound", message }, 404)

const crossOrigin = Response.json({ _tag: "CrossOrigin", message: "the board serves its own page alone" }, 403)

/** A page of another origin may send a request, though it can't read the response. */
const isOwn = ({ headers }: HttpServerRequest.HttpServerRequest): boolean =>
  ["same-origin", "none", undefined].includes(headers["sec-fetch-site"])

const make = (maxJobs: number) =>
  Effect.gen(function*() {
    const watcher = yield* JobWatcher
    const eta = yield* LearnedCadence.estimates
    const jobs = new Jobs(maxJobs, eta, clockAheadOf(watcher))
    const watched = observed(watcher, jobs)
    const { error: encodeError } = encodersOf("slim")
    const pages = new Connections(maxPages, Infinity)
    const stopped = yield* Deferred.make<void>()
    yield* Effect.addFinalizer(() => Deferred.succeed(stopped, undefined))

    const events = Effect.fnUntraced(function*(query: URLSearchParams, request: HttpServerRequest.HttpServerRequest) {
      const rejected = yield* pages.open(undefined)
      if (rejected !== undefined) return yield* Response.tooManyConnections(rejected)
      const names = Array.from(new Set(query.getAll("job")))
      // The jobs of a page are watched for as long as it is open. To look at a job must not cancel it.
      const policy = yield* Default
      const subscription = yield* watched.subscribe({
        policy: { ...policy, deadline: Deadline.request(policy.deadline.request) },
        wants: "changes"
      })
      const add = (output: Output) =>
        Effect.forEach(names, (name, i) => {
          const job = Job.parse(name)
          if (Either.isRight(job) && i < maxAdded) return subscription.add(job.right)
          const reason = i < maxAdded ? "a job is named MODEL/REQUEST_ID" : `a page adds ${maxAdded} jobs at most`
          return Effect.sync(() => output.write(refusal(name, reason)))
        }, { discard: true })
      const send = yield* GatewayOutput
      const ended = Effect.raceFirst(Effect.forever(subscription.next), Deferred.await(stopped))
      const bytes = yield* send(request, (output) =>
        Effect.raceFirst(writeTo(output, jobs, add(output)), ended).pipe(
          Effect.catchAllCause(logDefects("a stream of the board"))
        ))
      return Response.stream("text/event-stream", bytes)
    })

    const outputs = ({ job, outcome }: Entry) =>
      Option.contains(outcome, "Completed")
        ? latest({ job, from: undefined }, Duration.zero).pipe(
          Effect.match({
            onFailure: (error) => Response.ofError(error, encodeError(error)),
            onSuccess: Option.match({
              onNone: () => notFound("the job has no outputs"),
              onSome: ({ status }) => Response.json(status.outputs)
            })
          }),
          Effect.provideService(JobWatcher, watcher)
        )
        : Effect.succeed(notFound("the job is not done"))

    // the watcher may know nothing of a job that is shown: then there is nothing to explain
    const why = ({ job }: Entry) =>
      Effect.map(
        explain(job, watcher, eta, undefined),
        // the summary begins with the job
        ({ summary }) => Response.json({ summary: summary.slice(Job.format(job).length + 2) })
      )

    const ofJob = (respond: typeof outputs) => (query: URLSearchParams) => {
      const job = Either.getOrUndefined(Job.parse(query.get("job") ?? ""))
      const entry = job && jobs.get(job)
      return entry === undefined ? Effect.succeed(notFound("the board shows no such job")) : respond(entry)
    }

    const data: { readonly [path: string]: typeof events | undefined } = {
      "/events": events,
      "/outputs": ofJob(outputs),
      "/why": ofJob(why)
    }

    const httpApp = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const path = pathOf(request)
      if (request.method !== "GET") return Response.methodNotAllowed
      const respond = data[path]
      if (respond === undefined) return files[path] ?? notFound("the page is /")
      return isOwn(request) ? yield* respond(paramsOf(request), request) : crossOrigin
    }).pipe(respondToDefects("a request to the board"), Effect.map(secure), Effect.interruptible)

    return Context.make(Board, { httpApp }).pipe(Context.add(JobWatcher, watched))
  })

/**
 * Provides the board, and a `JobWatcher` that does the same as the one before, and whose jobs the board shows. The rest of
 * the program must use this watcher.
 *
 * The board shows when jobs are expected to end: where a `LearnedCadence` is provided, by earlier jobs, else by progress.
 * Throws a `RangeError` if `maxJobs` is neither a positive integer nor `Infinity`.
 *
 * @example
 * import { JobQueue, JobWatcher } from "effect-queue-status"
 * import { Board } from "effect-queue-status/gateway"
 * import { FetchHttpClient, HttpServer } from "@effect/platform"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { createServer } from "node:http"
 *
 * const WatcherLive = Board.layer().pipe(
 *   Layer.provide(JobWatcher.layer()),
 *   Layer.provide(JobQueue.layer()),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const main = HttpServer.serve(Board.httpApp).pipe(
 *   Layer.provide(WatcherLive),
 *   Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Board | JobWatcher, never, JobWatcher> =>
  Layer.scopedContext(make(limitOf("maxJobs", options.maxJobs ?? 1_000)))

/**
 * The page and its data. It can be served (`HttpServer.serve`) or mounted under a prefix (`HttpRouter.mountApp`); then its
 * address ends with a slash.
 *
 * @since 0.1.0
 * @category constructors
 */
export const httpApp: HttpApp.Default<never, Board | Scope.Scope> = Effect.flatMap(Board, ({ httpApp }) => httpApp)
