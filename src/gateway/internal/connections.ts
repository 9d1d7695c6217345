/** How many requests are open, in all and of each client. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/** @internal */
export class Connections {
  private all = 0
  private readonly ofClients = new Map<string, number>()

  constructor(private readonly max: number, private readonly maxOfClient: number) {}

  get isFull(): boolean {
    return this.all >= this.max
  }

  /** A client that is not known has no limit of its own. */
  isFullFor(client: string | undefined): boolean {
    return client !== undefined && (this.ofClients.get(client) ?? 0) >= this.maxOfClient
  }

  /** Counts a request until its scope is closed. */
  // not `acquireRelease`, whose finalizer keeps all that the fiber of the request refers to
  open(client: string | undefined): Effect.Effect<void, never, Scope.Scope> {
    return Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
      this.add(client, 1)
      return Scope.addFinalizer(scope, Effect.sync(() => this.add(client, -1)))
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
