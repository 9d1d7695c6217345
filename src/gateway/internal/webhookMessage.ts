/** A transition as a message of Standard Webhooks. */
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Transition from "../../model/Transition.js"
import { encodersOf } from "./view.js"

/** @internal */
export interface Message {
  readonly id: string
  readonly body: string
}

const { event: encode } = encodersOf("slim")

const typeOf = (tag: Transition.Transition["_tag"]): string =>
  `job.${tag.replace(/\B[A-Z]/g, (letter) => `_${letter}`).toLowerCase()}`

// After a crash, the next snapshot may show more of the job than the last one did. A step that was sent already is then
// derived again, perhaps with other times: its cursor differs, its place in the history does not.
const idOf = (transition: Transition.Transition): string => {
  const { _tag, cursor } = transition
  return _tag === "Progressed"
    ? Transition.formatCursor(cursor)
    : Transition.isTerminal(transition)
    ? `${cursor.job}.end`
    : `${cursor.job}.${_tag.toLowerCase()}.${cursor.retries}`
}

/** @internal */
export const messageOf = (transition: Transition.Transition): Message => ({
  id: idOf(transition),
  body: JSON.stringify({
    type: typeOf(transition._tag),
    timestamp: DateTime.formatIso(Option.getOrElse(transition.at, () => transition.observedAt)),
    data: encode(transition)
  })
})

const invalidSecret = "a secret of the endpoint is not base64, or empty"

const sign = (secret: Redacted.Redacted, text: string): Effect.Effect<string, string> =>
  Encoding.decodeBase64(Redacted.value(secret).replace(/^whsec_/, "")).pipe(
    Either.mapLeft(() => invalidSecret),
    Effect.flatMap((key) =>
      Effect.tryPromise({
        try: () =>
          // a copy, of which TypeScript knows that its memory is not shared
          crypto.subtle.importKey("raw", new Uint8Array(key), { name: "HMAC", hash: "SHA-256" }, false, ["sign"])
            .then((key) => crypto.subtle.sign("HMAC", key, new TextEncoder().encode(text))),
        catch: () => invalidSecret
      })
    ),
    Effect.map((signature) => `v1,${Encoding.encodeBase64(new Uint8Array(signature))}`)
  )

/** Makes the request of an attempt, signed with each secret. Fails with a reason. @internal */
export const requestOf = (
  { body, id }: Message,
  { secrets, url }: { readonly url: string; readonly secrets: ReadonlyArray<Redacted.Redacted> }
): Effect.Effect<HttpClientRequest.HttpClientRequest, string> =>
  Effect.gen(function*() {
    const timestamp = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const signatures = yield* Effect.forEach(secrets, (secret) => sign(secret, `${id}.${timestamp}.${body}`))
    return HttpClientRequest.post(url, {
      headers: {
        "webhook-id": id,
        "webhook-timestamp": String(timestamp),
        "webhook-signature": signatures.join(" ")
      },
      body: HttpBody.text(body, "application/json")
    })
  })
