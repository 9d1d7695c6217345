import type * as Undici from "@effect/platform-node/Undici"
import * as Effect from "effect/Effect"
import { gunzip } from "node:zlib"
import { isOk } from "../../queue/internal/response.js"
import { maxRefusal, ofRefusal, ofSuccess, type ResponseBody } from "../../queue/internal/responseBody.js"
import type { Entry } from "../../queue/internal/responseCache.js"
import type { Outcome, Outcomes } from "../../queue/internal/statusCall.js"

type Headers = Record<string, string | Array<string> | undefined>

const stopped = new Error("not wanted any more")

/** A request over undici. Reports its outcome once, unless it is stopped before. @internal */
export class PollRequest implements Undici.Dispatcher.DispatchHandler {
  private controller: Undici.Dispatcher.DispatchController | undefined
  private isOver = false
  private httpStatus = 0
  private headers: Headers = {}
  private body: ResponseBody | undefined

  constructor(
    private readonly entry: Entry<Undici.Dispatcher.DispatchOptions>,
    private readonly outcomes: Outcomes<Undici.Dispatcher.DispatchOptions>,
    private readonly maxBytes: number,
    private readonly report: (outcome: Outcome) => void
  ) {}

  /** Closes the connection. A request that still waits for one is not sent. */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    this.isOver = true
    this.controller?.abort(stopped)
  })

  onRequestStart(controller: Undici.Dispatcher.DispatchController): void {
    if (this.isOver) controller.abort(stopped)
    else this.controller = controller
  }

  onResponseStart(_: unknown, httpStatus: number, headers: Headers): void {
    // an informational response
    if (httpStatus < 200) return
    this.httpStatus = httpStatus
    this.headers = headers
    this.body = isOk(httpStatus) ? ofSuccess(this.maxBytes) : ofRefusal()
  }

  onResponseData(controller: Undici.Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.body === undefined || this.body.add(chunk)) return
    this.end(isOk(this.httpStatus) ? this.outcomes.tooLarge(this.entry, this.httpStatus) : this.received(this.body))
    controller.abort(stopped)
  }

  onResponseEnd(): void {
    if (this.body === undefined) return
    if (this.headers["content-encoding"] === "gzip") this.gunzip(this.body)
    else this.end(this.received(this.body))
  }

  onResponseError(_: unknown, cause: unknown): void {
    if (this.isOver) return
    // an incomplete body still belongs to a response with a known status
    this.end(
      this.body === undefined || isOk(this.httpStatus)
        ? this.outcomes.lost(this.entry, cause, this.body === undefined ? "Transport" : "Decode")
        : this.received(this.body)
    )
  }

  private gunzip(compressed: ResponseBody): void {
    const { entry, headers: { "content-encoding": _, ...headers }, httpStatus, outcomes } = this
    const maxOutputLength = isOk(httpStatus) ? this.maxBytes : maxRefusal
    gunzip(compressed.bytes(), { maxOutputLength }, (error, body) => {
      if (this.isOver) return
      if (error === null) return this.end(outcomes.received(entry, httpStatus, headers, body))
      // an error response has a status, whatever its body is
      if (!isOk(httpStatus)) return this.end(this.received(compressed))
      this.end(
        "code" in error && error.code === "ERR_BUFFER_TOO_LARGE"
          ? outcomes.tooLarge(entry, httpStatus)
          : outcomes.lost(entry, error, "Decode")
      )
    })
  }

  private received(body: ResponseBody): Outcome {
    return this.outcomes.received(this.entry, this.httpStatus, this.headers, body.bytes())
  }

  private end(outcome: Outcome): void {
    this.isOver = true
    this.report(outcome)
  }
}
