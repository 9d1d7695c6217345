// The process of the command: its signals, its log, and its exit code.
// @effect-diagnostics strictEffectProvide:off
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Exit from "./exit.js"
import { run, toExit } from "./run.js"

// A closed output fails the write that finds it (`| head -1`). Without a listener its error would end the process too.
process.stdout.on("error", () => {})

let interrupted: number = Exit.codes.interrupted
process.once("SIGTERM", () => {
  interrupted = Exit.codes.terminated
})

run(process.argv).pipe(
  Effect.provide(Layer.mergeAll(
    NodeContext.layer,
    // standard output is for results
    Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
  )),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true, // it writes to standard output
    teardown: (exit, onExit) => {
      if (exit._tag === "Success") return onExit(Exit.codes.done)
      onExit(Cause.isInterruptedOnly(exit.cause) ? interrupted : toExit(exit.cause).code)
    }
  })
)
