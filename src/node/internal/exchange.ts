import type * as Undici from "@effect/platform-node/Undici"
import type * as Headers from "@effect/platform/Headers"
import type * as Effect from "effect/Effect"
import { isOk, refusalBody } from "../../internal/answer.js"
import type { RefusalBody } from "../../internal/answer.js"
import type { JobStatus } from "../../Job.js"
import type { QueueError } from "../../QueueError.js"
import type { Deadlines, Expiring } from "./deadlines.js"
import type { Known } from "./memory.js"

/** @internal */
export type End = Effect.Effect<JobStatus, QueueError>

/**
 * What the ends of a request mean.
 *
 * @internal
 */
export interface Ends {
  /** A success, and its whole body. */
  readonly answered: (known: Known, httpStatus: number, headers: Headers.Input, body: Uint8Array) => End
  /** Another status, and what was read of its body. */
  readonly refused: (known: Known, httpStatus: number, headers: Headers.Input, text: string) => End
  /** No answer, or (`hasBegun`) not the whole of a success. */
  readonly failed: (known: Known, cause: unknown, hasBegun: boolean) => End
  /** No end in time. */
  readonly expired: (known: Known) => End
}

const stopped = new Error("not wanted any more")

/**
 * A request over undici. It tells once how it ended, unless it is stopped before.
 *
 * @internal
 */
export class Exchange implements Undici.Dispatcher.DispatchHandler, Expiring {
  expiresAt = Infinity
  private controller: Undici.Dispatcher.DispatchController | undefined
  private isOver = false
  private httpStatus = 0
  private headers: Headers.Input = {}
  private body: Uint8Array | undefined
  private more: Array<Uint8Array> | undefined
  private refusal: RefusalBody | undefined

  constructor(
    private readonly known: Known,
    private readonly ends: Ends,
    private readonly deadlines: Deadlines | undefined,
    private readonly tell: (end: End) => void
  ) {}

  start(dispatcher: Undici.Dispatcher): void {
    this.deadlines?.add(this)
    dispatcher.dispatch(this.known.request, this)
  }

  /** Closes the connection; what is still in line for one is not sent. */
  stop(): void {
    this.isOver = true
    this.deadlines?.delete(this)
    this.controller?.abort(stopped)
  }

  expire(): void {
    this.stop()
    this.tell(this.ends.expired(this.known))
  }

  onRequestStart(controller: Undici.Dispatcher.DispatchController): void {
    if (this.isOver) controller.abort(stopped)
    else this.controller = controller
  }

  onResponseStart(_: unknown, httpStatus: number, headers: Headers.Input): void {
    // only announces the answer
    if (httpStatus < 200) return
    this.httpStatus = httpStatus
    this.headers = headers
    if (!isOk(httpStatus)) this.refusal = refusalBody()
  }

  onResponseData(controller: Undici.Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.refusal !== undefined) {
      if (this.refusal.add(chunk)) return
      this.refuse(this.refusal)
      controller.abort(stopped)
    } else if (this.body === undefined) this.body = chunk
    else if (this.more === undefined) this.more = [this.body, chunk]
    else this.more.push(chunk)
  }

  onResponseEnd(): void {
    if (this.refusal !== undefined) return this.refuse(this.refusal)
    const body = this.more === undefined ? this.body ?? empty : concat(this.more)
    this.end(this.ends.answered(this.known, this.httpStatus, this.headers, body))
  }

  onResponseError(_: unknown, cause: unknown): void {
    if (this.isOver) return
    // a body that breaks off still belongs to an answer whose status is known
    if (this.refusal !== undefined) this.refuse(this.refusal)
    else this.end(this.ends.failed(this.known, cause, this.httpStatus !== 0))
  }

  private refuse(refusal: RefusalBody): void {
    this.end(this.ends.refused(this.known, this.httpStatus, this.headers, refusal.text()))
  }

  private end(end: End): void {
    this.isOver = true
    this.deadlines?.delete(this)
    this.tell(end)
  }
}

const empty = new Uint8Array()

// Not `Buffer.concat`: a short one would be a part of a pool, and keep all of it.
const concat = (chunks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const whole = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
