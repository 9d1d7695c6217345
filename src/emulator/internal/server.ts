/**
 * A server that handles misbehaving clients: one that is too slow, or does not speak HTTP, gets an error response and
 * does not delay others.
 *
 * @internal
 */
// @effect-diagnostics nodeBuiltinImport:off
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import * as Https from "node:https"
import type { Duplex } from "node:stream"

/**
 * The timeouts of a connection: `headers` for the headers of a request, `request` for all of it, `idle` for a
 * connection without traffic. The first two exclude the time until the response, which a long poll extends.
 *
 * @internal
 */
export const defaultPatience = {
  headers: Duration.seconds(20),
  request: Duration.minutes(2),
  idle: Duration.minutes(1)
}

/** Returns whether a server on this host listens at every address of the machine. @internal */
export const isEverywhere = (host: string): boolean => host === "0.0.0.0" || host === "::"

type Refusal = readonly [status: number, code: string, message: string]

const refusals: { readonly [code: string]: Refusal } = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, "request_timeout", "the request took too long to arrive"],
  HPE_HEADER_OVERFLOW: [431, "headers_too_large", "the headers are too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "body_too_large", "the chunk extensions are too large"]
}

const bodyOf = ([, code, message]: Refusal): string => JSON.stringify({ code, type: "invalid_request_error", message })

// An error response can't be written into another response.
const hasBegun = (socket: Duplex & { readonly _httpMessage?: Http.ServerResponse | null }): boolean =>
  socket._httpMessage?.headersSent === true

// Responds on the socket, because without a parsed request there is no response object.
const refuse = (socket: Duplex, refusal: Refusal): void => {
  // the client may disconnect meanwhile, which is not an error
  socket.on("error", () => socket.destroy())
  if (!socket.writable || hasBegun(socket)) {
    socket.destroy()
    return
  }
  const [status] = refusal
  const body = bodyOf(refusal)
  socket.end(
    `HTTP/1.1 ${status} ${Http.STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    // a client that sends without reading must not hold the connection
    () => socket.destroy()
  )
}

/** @internal */
export const make = ({ patience: { headers, idle, request } = defaultPatience, tls }: {
  readonly patience?: typeof defaultPatience | undefined
  readonly tls?: { readonly cert: string; readonly key: string } | undefined
} = {}): Http.Server => {
  const options = {
    headersTimeout: Duration.toMillis(headers),
    requestTimeout: Duration.toMillis(request),
    keepAliveTimeout: Duration.toMillis(idle),
    connectionsCheckingInterval: Math.min(1_000, Duration.toMillis(headers))
  }
  // only members that both have are used
  const server = tls === undefined
    ? Http.createServer(options)
    : Https.createServer({ ...options, ...tls }) as unknown as Http.Server
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (error.code === "ECONNRESET") socket.destroy()
    else refuse(socket, refusals[error.code ?? ""] ?? [400, "invalid_http", "this is not HTTP/1.1"])
  })
  server.on("connect", (_request, socket) => refuse(socket, [405, "method_not_allowed", "this is no proxy"]))
  server.on("checkExpectation", (request, response) => {
    const body = bodyOf([417, "expectation_failed", `what is expected is not known: ${request.headers.expect}`])
    const length = Buffer.byteLength(body)
    response.writeHead(417, { connection: "close", "content-type": "application/json", "content-length": length })
    response.end(body)
  })
  return server
}

/**
 * Listens until the scope closes. Returns the server, and its origin for clients on this machine: a server on every address
 * is also on the loopback address.
 *
 * @internal
 */
export const listen = (server: Http.Server, { host, port }: { readonly host: string; readonly port: number }) =>
  Effect.gen(function*() {
    // Node takes an empty host for every address
    if (host === "") return yield* new HttpServerError.ServeError({ cause: new Error("the host is empty") })
    const httpServer = yield* NodeHttpServer.make(() => server, { host, port }).pipe(
      // Node throws if the port is out of range
      Effect.catchAllDefect((cause) => new HttpServerError.ServeError({ cause }))
    )
    // closing a server waits for its connections to end
    yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))
    const { address } = httpServer
    const scheme = server instanceof Http.Server ? "http" : "https"
    const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host
    // a server with a port has no other kind of address
    const bound = address._tag === "TcpAddress" ? address.port : port
    return { httpServer, origin: `${scheme}://${name.includes(":") ? `[${name}]` : name}:${bound}` }
  })
