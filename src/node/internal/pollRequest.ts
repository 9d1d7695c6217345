import type * as Undici from "@effect/platform-node/Undici"
import type * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import { isOk } from "../../queue/internal/response.js"
import { ofRefusal, ofSuccess } from "../../queue/internal/responseBody.js"
import type { ResponseBody } from "../../queue/internal/responseBody.js"
import type { Known } from "./responseCache.js"
import type { Deadlines, Expiring } from "./sharedTimeout.js"

/** @internal */
export type End = Effect.Effect<JobStatus, QueueError>

/**
 * Headers in the form of undici.
 *
 * @internal
 */
export type Headers = Record<string, string | Array<string> | undefined>

/**
 * Handlers for the outcomes of a request.
 *
 * @internal
 */
export interface Ends {
  /** A success, with its whole body. */
  readonly answered: (known: Known, httpStatus: number, headers: Headers, body: Uint8Array) => End
  /** Another status code, with the part of its body that was read. */
  readonly refused: (known: Known, httpStatus: number, headers: Headers, body: Uint8Array) => End
  /** A success whose body is longer than `maxBytes`. */
  readonly tooLarge: (known: Known, httpStatus: number) => End
  /** No response, or (`hasBegun`) an incomplete success. */
  readonly failed: (known: Known, cause: unknown, hasBegun: boolean) => End
  /** The request timed out. */
  readonly expired: (known: Known) => End
  /** The maximum body of a success, in bytes. */
  readonly maxBytes: number
}

const stopped = new Error("not wanted any more")

/**
 * A request over undici. Reports its outcome once, unless it is stopped before.
 *
 * @internal
 */
export class Exchange implements Undici.Dispatcher.DispatchHandler, Expiring {
  expiresAt = Infinity
  private controller: Undici.Dispatcher.DispatchController | undefined
  private isOver = false
  private httpStatus = 0
  private headers: Headers = {}
  private body: ResponseBody | undefined

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

  /** Closes the connection. A request that still waits for one is not sent. */
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

  onResponseStart(_: unknown, httpStatus: number, headers: Headers): void {
    // an informational response
    if (httpStatus < 200) return
    this.httpStatus = httpStatus
    this.headers = headers
    this.body = isOk(httpStatus) ? ofSuccess(this.ends.maxBytes) : ofRefusal()
  }

  onResponseData(controller: Undici.Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.body === undefined || this.body.add(chunk)) return
    this.end(isOk(this.httpStatus) ? this.ends.tooLarge(this.known, this.httpStatus) : this.whole(this.body))
    controller.abort(stopped)
  }

  onResponseEnd(): void {
    if (this.body !== undefined) this.end(this.whole(this.body))
  }

  onResponseError(_: unknown, cause: unknown): void {
    if (this.isOver) return
    // an incomplete body still belongs to a response with a known status
    this.end(
      this.body === undefined || isOk(this.httpStatus)
        ? this.ends.failed(this.known, cause, this.body !== undefined)
        : this.whole(this.body)
    )
  }

  private whole(body: ResponseBody): End {
    const { ends, headers, httpStatus, known } = this
    return isOk(httpStatus)
      ? ends.answered(known, httpStatus, headers, body.bytes())
      : ends.refused(known, httpStatus, headers, body.bytes())
  }

  private end(end: End): void {
    this.isOver = true
    this.deadlines?.delete(this)
    this.tell(end)
  }
}
