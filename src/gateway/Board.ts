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
import { explain } from "../telemetry/internal/explanation.js"
import { observed } from "../watch/internal/observed.js"
import { JobWatcher } from "../watch/JobWatcher.js"
import { Jobs } from "./internal/boardJobs.js"
import { open, refusal } from "./internal/boardStream.js"
import type { ClientBuffer } from "./internal/clientBuffer.js"
import * as Page from "./internal/page.js"
import { maxJobs as maxAdded, pathOf } from "./internal/request.js"
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

const noSuchJob = notFound("no such job is watched")

const crossOrigin = Response.json({ _tag: "CrossOrigin", message: "the board serves its own page alone" }, 403)

/** A page of another origin may send a request, though it can't read the response. */
const isOwn = ({ headers }: HttpServerRequest.HttpServerRequest): boolean =>
  ["same-origin", "none", undefined].includes(headers["sec-fetch-site"])

const make = (options: Options) =>
  Effect.gen(function*() {
    const watcher = yield* JobWatcher
    const eta = yield* LearnedCadence.estimates
    const jobs = new Jobs(options.maxJobs ?? 1_000, eta, watcher.clockAhead)
    const watched = observed(watcher, jobs)
    const { error: encodeError } = encodersOf("slim")
    const pages = new Set<ClientBuffer>()
    yield* Effect.addFinalizer(() => Effect.sync(() => pages.forEach((page) => page.end())))

    /** Watches the jobs that the page names, for as long as it is open. To look at a job must not cancel it. */
    const watch = Effect.fnUntraced(function*(names: ReadonlyArray<string>, page: ClientBuffer) {
      if (names.length === 0) return
      const policy = yield* Default
      const subscription = yield* watched.subscribe({
        policy: { ...policy, deadline: Deadline.request(policy.deadline.request) },
        wants: "changes"
      })
      for (const [i, name] of names.entries()) {
        const job = Job.parse(name)
        if (Either.isRight(job) && i < maxAdded) yield* subscription.add(job.right)
        else {
          page.write(
            refusal(name, i < maxAdded ? "a job is named MODEL/REQUEST_ID" : `a page adds ${maxAdded} jobs at most`)
          )
        }
      }
      yield* Effect.forkScoped(Effect.forever(subscription.next))
    })

    const events = Effect.fnUntraced(function*(query: URLSearchParams) {
      if (pages.size >= maxPages) return yield* Response.tooManyConnections(503)
      const names = Array.from(new Set(query.getAll("job")))
      const bytes = yield* open(jobs, (page) =>
        Effect.zipRight(
          Effect.acquireRelease(
            Effect.sync(() => pages.add(page)),
            () => Effect.sync(() => pages.delete(page))
          ),
          watch(names, page)
        ))
      return Response.stream("text/event-stream", bytes)
    })

    const outputs = (query: URLSearchParams) =>
      Effect.gen(function*() {
        const job = Either.getOrUndefined(Job.parse(query.get("job") ?? ""))
        const outcome = job === undefined ? undefined : jobs.get(job)?.outcome
        if (job === undefined || outcome === undefined || !Option.contains(outcome, "Completed")) {
          return notFound("the board knows no such job that is done")
        }
        const snapshot = yield* latest({ job, from: undefined }, Duration.zero)
        return Option.match(snapshot, {
          onNone: () => notFound("the job has no outputs"),
          onSome: ({ status }) => Response.json(status.outputs)
        })
      }).pipe(
        Effect.provideService(JobWatcher, watcher),
        Effect.catchAll((error) => Effect.succeed(Response.ofError(error, encodeError(error))))
      )

    const why = (query: URLSearchParams) =>
      Either.match(Job.parse(query.get("job") ?? ""), {
        onLeft: () => Effect.succeed(noSuchJob),
        onRight: (job) =>
          Effect.map(explain(job, watcher, eta, undefined), ({ causes, summary }) =>
            // the summary begins with the job
            causes.length === 0 ? noSuchJob : Response.json({ summary: summary.slice(Job.format(job).length + 2) }))
      })

    const httpApp = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const path = pathOf(request)
      const query = new URLSearchParams(request.url.slice(path.length))
      if (request.method !== "GET") return Response.methodNotAllowed
      if (path === "/events") return isOwn(request) ? yield* events(query) : crossOrigin
      if (path === "/outputs") return isOwn(request) ? yield* outputs(query) : crossOrigin
      if (path === "/why") return isOwn(request) ? yield* why(query) : crossOrigin
      return files[path] ?? notFound("the page is /")
    }).pipe(Effect.map(secure), Effect.interruptible)

    return Context.make(Board, { httpApp }).pipe(Context.add(JobWatcher, watched))
  })

/**
 * Provides the board, and a `JobWatcher` that does the same as the one before, and whose jobs the board shows. The rest of
 * the program must use this watcher.
 *
 * The board shows when jobs are expected to end: where a `LearnedCadence` is provided, by earlier jobs, else by progress.
 *
 * @example
 * import { JobQueue, JobWatcher } from "effect-queue-status"
 * import { Board, Gateway } from "effect-queue-status/gateway"
 * import { FetchHttpClient, HttpRouter, HttpServer } from "@effect/platform"
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
 * const app = HttpRouter.empty.pipe(
 *   HttpRouter.mountApp("/jobs", Gateway.httpApp()),
 *   HttpRouter.mountApp("/", Board.httpApp)
 * )
 *
 * const main = HttpServer.serve(app).pipe(
 *   Layer.provide(WatcherLive),
 *   Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Board | JobWatcher, never, JobWatcher> =>
  Layer.scopedContext(make(options))

/**
 * The page and its data. It can be served (`HttpServer.serve`) or mounted under a prefix (`HttpRouter.mountApp`); then its
 * address ends with a slash.
 *
 * @since 0.1.0
 * @category constructors
 */
export const httpApp: HttpApp.Default<never, Board | Scope.Scope> = Effect.flatMap(Board, ({ httpApp }) => httpApp)
