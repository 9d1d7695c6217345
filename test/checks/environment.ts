/**
 * The environment of every test, and of every process that a test starts. It is the same on every machine.
 *
 * The runner's configuration calls `define` before any worker is started, so no variable of the caller (`TERM`, `TZ`,
 * `LANG`, `NO_COLOR`, `CI`, a token, a proxy) reaches a test.
 */

/** The locations of the machine's programs and files. */
const ofTheMachine = ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot"]

const fixed = { LANG: "C.UTF-8", TERM: "xterm-256color", TZ: "UTC" }

// The real service, which is tested if the last of these is set.
const ofTheService = ["TOGETHER_API_KEY", "TOGETHER_BASE_URL", "TOGETHER_CONFORMANCE_MODEL"] as const

declare module "vitest" {
  export interface ProvidedContext {
    /** The caller's settings of the real service. */
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

/** The default seed of the properties. */
const usualSeed = 20_260_207

/**
 * Sets the environment of this process. Returns the caller's settings of the real service, and the seed of the
 * properties: `FAST_CHECK_SEED` if set, else the default one, or a new one on each run for the larger laws.
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
