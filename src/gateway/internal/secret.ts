import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

// Two digests can be compared without a time that depends on the secret.
const digest = (secret: Redacted.Redacted): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => crypto.subtle.digest("SHA-256", new TextEncoder().encode(Redacted.value(secret)))),
    (bytes) => String.fromCharCode(...new Uint8Array(bytes))
  )

/** Whether a secret is one of these. @internal */
export const isOneOf = (
  secrets: ReadonlyArray<Redacted.Redacted>,
  secret: Redacted.Redacted
): Effect.Effect<boolean> =>
  Effect.zipWith(digest(secret), Effect.forEach(secrets, digest), (given, known) => known.includes(given))
