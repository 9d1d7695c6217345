import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Fiber from "./fiber.js"

type Fetch = typeof globalThis.fetch

// Implementations that reject the field, such as that of Cloudflare Workers of an earlier compatibility date.
const withoutField = new WeakSet<Fetch>()

const noStore = (fetch: Fetch): Fetch => (input, init) =>
  withoutField.has(fetch)
    ? fetch(input, init)
    : Promise.resolve().then(() => fetch(input, { ...init, cache: "no-store" })).catch((error: unknown) => {
      if (!/\bcache\b/i.test(String(error))) throw error
      return fetch(input, init).then((response) => {
        withoutField.add(fetch)
        return response
      })
    })

// A fiber does not replace its context by an equal one. A value that is not equal to itself makes the context unequal.
const Mark = Context.GenericTag<"effect-queue-status/NoStore", number>("effect-queue-status/NoStore")

// The context of the request, outside of the client.
const outsideContext = FiberRef.unsafeMake<Context.Context<never> | undefined>(undefined)

/** Sends a request of a client of `withNoStore`. @internal */
export const outside = <A, E>(request: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.contextWithEffect((context: Context.Context<never>) => {
    const marked = Context.add(context, Mark, NaN)
    return request.pipe(Effect.locally(FiberRef.currentContext, marked), Effect.locally(outsideContext, marked))
  })

/** Sends a request of a client of `withNoStore` in a fiber of its own, for another one. @internal */
export const forkOutside = <A, E>(
  caller: Fiber.Fiber<unknown, unknown>,
  request: Effect.Effect<A, E>
): Fiber.Fiber<A, E> => {
  const marked = Context.add(caller.getFiberRef(FiberRef.currentContext), Mark, NaN)
  return Fiber.forkLike(caller, marked, outsideContext, marked, request)
}

/**
 * Prevents cached responses to a GET over `fetch`, by the field of `RequestInit`. The `fetch` of Next.js 13 and 14 caches
 * every GET without this field, whatever its headers are.
 *
 * `FetchHttpClient.layer` takes its `fetch` from the context that it was built in, which is available only inside the
 * client. A request is mapped inside it, and what it then adds to the context of the fiber holds until the client
 * returns. If the app has wrapped the client so that requests are mapped outside of it (`HttpClient.transform`,
 * `HttpClient.followRedirects`), nothing is added: a `fetch` added there would replace the app's.
 *
 * For any other request, `fetch` is configured in the same way not to follow a redirect, which might send it again.
 *
 * The requests of the client have to be sent by `outside`, or by a fiber of `forkOutside`.
 *
 * @internal
 */
export const withNoStore: (client: HttpClient.HttpClient) => HttpClient.HttpClient = HttpClient.mapRequestEffect(
  (request) =>
    Fiber.withSelf((fiber) => {
      const context = fiber.getFiberRef(FiberRef.currentContext)
      if (context === fiber.getFiberRef(outsideContext)) return Effect.succeed(request)
      const init = Option.getOrUndefined(Context.getOption(context, FetchHttpClient.RequestInit))
      const fetch = Option.getOrElse(Context.getOption(context, FetchHttpClient.Fetch), () => globalThis.fetch)
      const added: Context.Context<never> = request.method === "GET"
        ? Context.add(context, FetchHttpClient.Fetch, noStore(fetch))
        : Context.add(context, FetchHttpClient.RequestInit, { ...init, redirect: "manual" })
      return Effect.as(FiberRef.set(FiberRef.currentContext, added), request)
    })
)
