import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import { ErrorBody } from "../../queue/internal/wire.js"

/** The body of an error response with a status code. @internal */
export const errorBody = (status: number) =>
  ErrorBody.annotations(HttpApiSchema.annotations({
    status,
    identifier: "QueueError",
    description: "`type` is a category, such as invalid_request_error"
  }))
