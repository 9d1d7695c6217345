/**
 * Server-sent events over `fetch`, across connections. Unlike an `EventSource`, it can send a header, sees the status and
 * the body of a response, and connects again after the error response of a proxy.
 *
 * @internal
 */
// @effect-diagnostics asyncFunction:off globalFetch:off globalRandom:off globalTimers:off newPromise:off preferSchemaOverJson:off

interface ServerEvent {
  readonly _tag: "Event"
  /** The name of the event. */
  readonly name: string | undefined
  /** Its id, if it has one of its own. */
  readonly id: string | undefined
  /** Its data, parsed as JSON. */
  readonly data: unknown
}

/** @internal */
export type Notice =
  | ServerEvent
  | { readonly _tag: "Connected" }
  | { readonly _tag: "Disconnected"; readonly reason: string; readonly retryIn: number }

/** @internal */
export interface Options {
  readonly url: string
  readonly from: string | undefined
  readonly token: () => string | undefined | Promise<string | undefined>
  readonly signal: AbortSignal
  /** For how many milliseconds a connection may be silent. */
  readonly maxSilence: number
  /** Returns the error of a response that is final. */
  readonly toError: (status: number, body: unknown) => Error | undefined
}

const maxPause = 30_000

/** Waits, until the signal aborts at the latest. */
const pause = (millis: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", end)
      resolve()
    }
    const timer = setTimeout(end, millis)
    signal.addEventListener("abort", end)
  })

interface Fields {
  readonly event?: string
  readonly id?: string
  readonly data?: string
  readonly retry?: string
}

/** Reads the fields of each event. The last one does not count if it is cut off. @internal */
export async function* fieldsOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Fields> {
  const decoder = new TextDecoder()
  let text = ""
  for await (const chunk of chunks) {
    let searched = Math.max(0, text.length - 1)
    text += decoder.decode(chunk, { stream: true })
    for (let end; (end = text.indexOf("\n\n", searched)) >= 0; searched = 0) {
      // a comment has an empty name
      yield Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: ?(.*)/s, 2)))
      text = text.slice(end + 2)
    }
  }
}

/** Throws if the connection breaks. */
const bodyOf = async (response: Response): Promise<unknown> => {
  const text = await response.text()
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Returns the events up to a response without content, or until the signal aborts: then it throws the reason. @internal */
export async function* eventStream({ from, maxSilence, signal, toError, token, url }: Options): AsyncGenerator<Notice> {
  // throws if a request can't have this URL
  new Request(url)
  let id = from
  let retry = 2_000
  let failures = 0
  while (true) {
    signal.throwIfAborted()
    const connection = new AbortController()
    const ended = AbortSignal.any([signal, connection.signal])
    // only while the connection is waited for: a slow consumer is no silence
    const soon = async <A>(promise: Promise<A>): Promise<A> => {
      const timer = setTimeout(() => connection.abort(new Error(`silent for ${maxSilence} ms`)), maxSilence)
      try {
        return await promise
      } finally {
        clearTimeout(timer)
      }
    }
    let retryAfter = 0
    let reason: unknown
    let final: Error | undefined
    try {
      const bearer = await Promise.race([
        token(),
        new Promise<never>((_, reject) => ended.addEventListener("abort", reject))
      ])
      // that of the runtime may quote the token
      final = new TypeError("the token, or the id to continue from, can't be in a header")
      const headers = new Headers({
        accept: "text/event-stream",
        ...(id !== undefined && { "last-event-id": id }),
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` })
      })
      final = undefined
      const response = await soon(fetch(url, { headers, cache: "no-store", signal: ended }))
      if (response.status === 204) return
      if (response.headers.get("content-type")?.startsWith("text/event-stream") !== true || response.body === null) {
        retryAfter = Math.min(Number(response.headers.get("retry-after")) || 0, 86_400) * 1_000
        final = toError(response.status, await soon(bodyOf(response)))
        throw new Error(`HTTP ${response.status}`)
      }
      failures = 0
      yield { _tag: "Connected" }
      const reader = response.body.getReader()
      const chunks = async function*() {
        for (let read; !(read = await soon(reader.read())).done;) yield read.value
      }
      for await (const fields of fieldsOf(chunks())) {
        signal.throwIfAborted()
        retry = Math.max(0, Number(fields.retry)) || retry
        if (fields.data === undefined) continue
        const data: unknown = JSON.parse(fields.data)
        id = fields.id ?? id
        yield { _tag: "Event", name: fields.event, id: fields.id, data }
      }
      reason = "the stream ended"
    } catch (error) {
      signal.throwIfAborted()
      if (final !== undefined) throw final
      reason = connection.signal.aborted ? connection.signal.reason : error
    } finally {
      connection.abort()
    }
    // the server spreads its clients by `retry`
    const spread = failures === 0 ? 1 : 0.5 + Math.random() / 2
    const retryIn = Math.max(retryAfter, Math.min(maxPause, retry * 2 ** failures++) * spread)
    yield { _tag: "Disconnected", reason: reason instanceof Error ? reason.message : String(reason), retryIn }
    signal.throwIfAborted()
    // with listeners of its own: Node warns of a leak if a signal of many watches has more than ten
    await pause(retryIn, AbortSignal.any([signal]))
  }
}
