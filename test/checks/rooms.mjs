/**
 * The rooms of `src`, and the imports that each may have, types included: its own files, those of rooms on lower floors,
 * and the packages that it names. No file imports one that imports it. Read by dependency-cruiser (`npm run lint`).
 */
const anywhere = ["effect", "@effect/platform"]
const onNode = [...anywhere, "@effect/platform-node"]

/** `isCore`: exported by the main entry point, which works without every other room. */
const rooms = {
  model: { floor: 1, isCore: true, packages: anywhere },
  browser: { floor: 1, packages: [] },
  queue: { floor: 2, isCore: true, packages: anywhere },
  policy: { floor: 2, isCore: true, packages: anywhere },
  watch: { floor: 3, isCore: true, packages: anywhere },
  api: { floor: 3, packages: anywhere },
  run: { floor: 4, isCore: true, packages: anywhere },
  telemetry: { floor: 4, isCore: true, packages: ["effect"] },
  testing: { floor: 4, packages: anywhere },
  gateway: { floor: 5, packages: [...anywhere, "jose"] },
  sql: { floor: 6, packages: ["effect", "@effect/sql"] },
  rpc: { floor: 6, packages: [...anywhere, "@effect/rpc"] },
  cluster: {
    floor: 4,
    packages: [...onNode, "@effect/cluster", "@effect/rpc", "@effect/sql"],
    isOnNode: true
  },
  workflow: { floor: 5, packages: [...anywhere, "@effect/cluster", "@effect/rpc", "@effect/workflow"] },
  node: { floor: 6, packages: onNode, isOnNode: true },
  emulator: { floor: 6, packages: onNode, isOnNode: true },
  cli: {
    floor: 7,
    packages: [
      ...onNode,
      ...["@effect/cluster", "@effect/sql", "@effect/sql-pg"],
      ...["@effect/opentelemetry", "@opentelemetry/exporter-prometheus"],
      ...["@effect/cli", "@effect/printer", "@effect/printer-ansi", "cli-truncate", "string-width"]
    ],
    isOnNode: true
  }
}

const names = Object.keys(rooms)

const oneOf = (all) => `(${all.join("|")})`

/** The permitted imports of a room: files by their folders, packages by their names. */
const allowed = ({ floor, isOnNode = false, packages }, name) => ({
  path: `^src/${oneOf([name, ...names.filter((other) => rooms[other].floor < floor)])}/`,
  packages: `(^|/)node_modules/${oneOf(packages)}/`,
  builtins: isOnNode
})

const runtimeModules = ["DefaultServices", "FiberId", "FiberRef", "FiberRefs", "Runtime", "Scheduler"]

/** The files that run fibers by hand: the module for it, the scheduler of virtual time, and the context of a client. */
const fibersByHand = ["queue/internal/fiber", "queue/internal/noStore", "testing/internal/virtualTime"]

const room = (name) => {
  const { builtins, packages, path } = allowed(rooms[name], name)
  return {
    name: `${name}-imports`,
    comment: `A file of src/${name} may not import this: see test/checks/rooms.mjs`,
    severity: "error",
    from: { path: `^src/${name}/` },
    to: { pathNot: [path, packages], ...(builtins && { dependencyTypesNot: ["core"] }) }
  }
}

export default {
  forbidden: [
    ...names.map(room),
    {
      name: "core-exports",
      comment: "The main entry point exports the rooms of the core alone",
      severity: "error",
      from: { path: "^src/index\\.ts$" },
      to: { pathNot: `^src/${oneOf(names.filter((name) => rooms[name].isCore))}/` }
    },
    {
      name: "no-room",
      comment: "Every file is in a room: see test/checks/rooms.mjs",
      severity: "error",
      from: { path: "^src/", pathNot: `^src/(index\\.ts$|${oneOf(names)}/)` },
      to: {}
    },
    {
      name: "fibers-by-hand",
      comment: "What differs between versions of Effect is in one module: src/queue/internal/fiber.ts",
      severity: "error",
      from: { path: "^src/", pathNot: `^src/${oneOf(fibersByHand)}\\.ts$` },
      to: { path: `(^|/)node_modules/effect/.*/${oneOf(runtimeModules)}\\.` }
    },
    {
      name: "no-circle",
      comment:
        "A file may not import one that imports it, not even for a type: the type belongs to the lower of the two",
      severity: "error",
      from: {},
      to: { circular: true }
    }
  ],
  options: {
    tsPreCompilationDeps: true, // types too
    tsConfig: { fileName: "tsconfig.json" },
    exclude: { path: "\\.mjs$" },
    doNotFollow: { path: "node_modules" }
  }
}
