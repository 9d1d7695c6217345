/**
 * The body of a response, as it arrives. Keeps the first `maxKept` bytes; `add` returns whether to continue reading. A
 * connection serves the next request only after the end of the body, which is not worth waiting for after `maxRead`
 * bytes.
 *
 * @internal
 */
export class ResponseBody {
  /** Mostly the only chunk. V8 would take an array that each response has for long-lived. */
  private first: Uint8Array | undefined
  private others: Array<Uint8Array> | undefined
  private size = 0

  constructor(private readonly maxKept: number, private readonly maxRead: number) {}

  add(chunk: Uint8Array): boolean {
    const room = this.maxKept - this.size
    if (room > 0) this.keep(chunk.length > room ? chunk.subarray(0, room) : chunk)
    this.size += chunk.length
    return this.size <= this.maxRead
  }

  private keep(chunk: Uint8Array): void {
    if (this.first === undefined) this.first = chunk
    else (this.others ??= []).push(chunk)
  }

  bytes(): Uint8Array {
    const { first = empty, others } = this
    return others === undefined ? first : concat([first, ...others])
  }
}

/** The most that is read of the text of an error response: an error keeps little of it. @internal */
export const maxRefusal = 64 * 1024

/** The body of an error response. @internal */
export const ofRefusal = (): ResponseBody => new ResponseBody(maxRefusal, 1024 * 1024)

/** The body of a success. `add` returns `false` for more than `maxBytes`. @internal */
export const ofSuccess = (maxBytes: number): ResponseBody => new ResponseBody(maxBytes, maxBytes)

const empty = new Uint8Array()

// Not `Buffer.concat`: a short result would be part of a pool, and retain all of it.
const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const whole = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

const utf8 = new TextDecoder()

/**
 * Decodes a body. `fetch` decompresses it but keeps the header; other clients do not decompress. If the header claims
 * compression and the bytes are not text, they are replaced by a message.
 *
 * @internal
 */
export const decodeText = (bytes: Uint8Array, contentEncoding: unknown): string => {
  if (contentEncoding === undefined || contentEncoding === "identity") return utf8.decode(bytes)
  try {
    // as a stream: the body may be cut within a character
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true })
  } catch {
    return `the body can't be read: it is compressed (${String(contentEncoding)})`
  }
}
