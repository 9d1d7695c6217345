/**
 * The environment of every test, and of every process that a test starts: the same wherever they run.
 *
 * The runner's configuration calls `define` before any worker is started, so whatever the caller has set (`TERM`, `TZ`,
 * `LANG`, `NO_COLOR`, `CI`, a token, a proxy) reaches no test.
 */

/** Where the machine keeps its programs and files. */
const ofTheMachine = ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot"]

const fixed = { LANG: "C.UTF-8", TERM: "xterm-256color", TZ: "UTC" }

// The real service, for those who ask for it by the last of these.
const ofTheService = ["TOGETHER_API_KEY", "TOGETHER_BASE_URL", "TOGETHER_CONFORMANCE_MODEL"] as const

declare module "vitest" {
  export interface ProvidedContext {
    /** What the caller has set of the real service. */
    readonly service: { readonly [name: string]: string }
  }
}

type Variables = { readonly [name: string]: string }

const pick = (names: ReadonlyArray<string>): Variables =>
  Object.fromEntries(names.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  }))

/** The environment of the processes that tests start. */
export const environment: Variables = { ...pick(ofTheMachine), ...fixed }

const isOfTheRunner = (name: string): boolean => name.startsWith("VITEST") || name === "NODE_ENV"

/** The usual cases of the properties. */
const usualSeed = 20_260_207

/**
 * Gives this process the environment. Returns what the caller has set of the real service, and the seed of the properties:
 * that of `FAST_CHECK_SEED`, else the usual one, and another each time for the larger laws.
 */
export const define = (): { readonly service: Variables; readonly seed: (isDeep: boolean) => number } => {
  const service = pick(ofTheService)
  const { FAST_CHECK_SEED: given } = process.env
  for (const name of Object.keys(process.env)) {
    if (!(name in environment) && !isOfTheRunner(name)) delete process.env[name]
  }
  Object.assign(process.env, environment)
  return {
    service,
    seed: (isDeep) => given !== undefined ? Number(given) : isDeep ? Date.now() : usualSeed
  }
}
