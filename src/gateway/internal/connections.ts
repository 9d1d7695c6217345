/** How many requests are open, in all and of each client. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/** @internal */
export class Connections {
  private all = 0
  private readonly ofClients = new Map<string, number>()

  constructor(private readonly max: number, private readonly maxOfClient: number) {}

  /**
   * Counts a request until its scope is closed, or returns the status of its rejection. A client that is not known has no
   * limit of its own.
   */
  // not `acquireRelease`, whose finalizer keeps all that the fiber of the request refers to
  open(client: string | undefined): Effect.Effect<429 | 503 | undefined, never, Scope.Scope> {
    return Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
      if (this.all >= this.max) return Effect.succeed(503)
      if (client !== undefined && (this.ofClients.get(client) ?? 0) >= this.maxOfClient) return Effect.succeed(429)
      this.add(client, 1)
      return Effect.as(Scope.addFinalizer(scope, Effect.sync(() => this.add(client, -1))), undefined)
    }))
  }

  private add(client: string | undefined, change: 1 | -1): void {
    this.all += change
    if (client === undefined) return
    const count = (this.ofClients.get(client) ?? 0) + change
    if (count > 0) this.ofClients.set(client, count)
    else this.ofClients.delete(client)
  }
}
