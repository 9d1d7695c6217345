import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
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
const outside = FiberRef.unsafeMake<Context.Context<never> | undefined>(undefined)

/**
 * Prevents cached responses to a GET: by a header, and, over `fetch`, by the field of `RequestInit`. The `fetch` of
 * Next.js 13 and 14 caches every GET without this field.
 *
 * `FetchHttpClient.layer` takes its `fetch` from the context that it was built in, which is available only inside the
 * client. A request is mapped inside it, and what it then adds to the context of the fiber holds until the client
 * returns. If the app has wrapped the client so that requests are mapped outside of it (`HttpClient.transform`,
 * `HttpClient.followRedirects`), only the header is set: a `fetch` added there would replace the app's.
 *
 * For any other request, `fetch` is configured in the same way not to follow a redirect, which might send it again.
 *
 * @internal
 */
export const withNoStore = (client: HttpClient.HttpClient): HttpClient.HttpClient =>
  client.pipe(
    HttpClient.mapRequestEffect((request) =>
      Fiber.withSelf((fiber) => {
        const isRead = request.method === "GET"
        const asked = isRead ? HttpClientRequest.setHeader(request, "cache-control", "no-store") : request
        const context = fiber.getFiberRef(FiberRef.currentContext)
        if (context === fiber.getFiberRef(outside)) return Effect.succeed(asked)
        if (!isRead) {
          const init = Option.getOrUndefined(Context.getOption(context, FetchHttpClient.RequestInit))
          const added = Context.add(context, FetchHttpClient.RequestInit, { ...init, redirect: "manual" })
          return Effect.as(FiberRef.set(FiberRef.currentContext, added), asked)
        }
        const fetch = Option.getOrElse(Context.getOption(context, FetchHttpClient.Fetch), () => globalThis.fetch)
        const added = Context.add(context, FetchHttpClient.Fetch, noStore(fetch))
        return Effect.as(FiberRef.set(FiberRef.currentContext, added), asked)
      })
    ),
    HttpClient.transformResponse((response) =>
      Effect.contextWithEffect((context: Context.Context<never>) => {
        const marked = Context.add(context, Mark, NaN)
        return response.pipe(Effect.locally(FiberRef.currentContext, marked), Effect.locally(outside, marked))
      })
    )
  )
