// `queue-status runner`, a process of a fleet, and `queue-status migrate`, which creates the tables of a fleet.
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { checked, every, host, integer, json, number, port } from "../options.js"

const fleet = Effect.promise(() => import("./fleet.js"))

const options = {
  json,
  host,
  port: port(8080),
  runnerHost: Options.text("runner-host").pipe(
    Options.withDescription(
      "the address of this machine that the other runners reach; by default RUNNER_HOST, or 127.0.0.1"
    ),
    Options.withFallbackConfig(Config.withDefault(Config.string("RUNNER_HOST"), "127.0.0.1"))
  ),
  runnerPort: checked(
    integer("runner-port").pipe(
      Options.withDescription("the port for the other runners; by default RUNNER_PORT, or 34431"),
      Options.withFallbackConfig(Config.withDefault(Config.integer("RUNNER_PORT"), 34_431))
    ),
    (port) => port > 0 && port <= 65_535,
    "--runner-port: must be from 1 to 65535"
  ),
  rate: checked(number("rate"), (rate) => rate > 0, "--rate: must be more than 0").pipe(
    Options.withDescription("how many polls a second the whole fleet may make; by default 100"),
    Options.withDefault(100)
  ),
  every
}

export const command = Command.make("runner", options, (settings) => Effect.flatMap(fleet, ({ run }) => run(settings)))
  .pipe(Command.withDescription(
    "Polls jobs as one process of a fleet, which shares the PostgreSQL database of DATABASE_URL, and serves the gateway. " +
      "Any runner answers for every job."
  ))

export const migrate = Command.make("migrate", {}, () => Effect.flatMap(fleet, ({ migrate }) => migrate)).pipe(
  Command.withDescription("Creates the tables of a fleet in the database of DATABASE_URL.")
)
