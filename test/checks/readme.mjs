// Follows the README like a reader: runs its install lines in an empty folder, with npm and pnpm, and then its programs.
import { transformSync } from "esbuild"
import assert from "node:assert"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { capture, manifest, modules, root, run } from "./tools.mjs"

/** The fenced blocks of the page; the `text` block after a program is its output. */
const blocks = Array.from(
  readFileSync(join(root, "README.md"), "utf8").matchAll(
    /^```(?<language>\w+)\n(?<text>[^]*?)^```$(?:\s*^```text\n(?<printed>[^]*?)^```$)?/gm
  ),
  ({ groups }) => groups
)

const installs = blocks
  .filter(({ language }) => language === "sh")
  .flatMap(({ text }) => text.split("\n"))
  .filter((line) => line.startsWith("npm install "))
  .map((line) => line.replace(/#.*/, "").trim().split(/\s+/).slice(1))

const sources = blocks.filter(({ language }) => language === "ts")
const isTest = ({ text }) => text.includes("\"@effect/vitest\"")
assert(
  installs.length > 0 && sources.some(isTest) && !sources.every(isTest),
  "README.md has no install, program or test"
)

/** Words with a digit vary from run to run: times and ids. */
const steady = (text) => text.replace(/\S*\d\S*/g, "#").trim()

const pnpm = join(modules, "pnpm/bin/pnpm.cjs")

export const followReadme = async (tarball, folder) => {
  const managers = {
    npm: { command: "npm", before: [], after: ["--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline"] },
    pnpm: { command: process.execPath, before: [pnpm], after: ["--prefer-offline"] }
  }
  for (const [name, { after, before, command }] of Object.entries(managers)) {
    const user = join(folder, `by-${name}`)
    mkdirSync(user)
    writeFileSync(join(user, "package.json"), JSON.stringify({ private: true, type: "module" }))
    for (const args of installs) {
      const packages = args.map((arg) => arg === manifest.name ? tarball : arg)
      run(command, [...before, ...packages, ...after], user)
    }
    if (name === "npm") run("npm", ["exec", "--no", "--", manifest.name, "--version"], user)
    const bin = join(user, "node_modules", manifest.name, Object.values(manifest.bin)[0])
    const emulator = spawn(
      process.execPath,
      [bin, "emulator", "--simulate", "--failure-rate", "0", "--loss-rate", "0", "--duration", "1s", "--port", "0"],
      { stdio: ["ignore", "pipe", "ignore"] }
    )
    process.on("exit", () => emulator.kill())
    const [address] = await once(emulator.stdout.setEncoding("utf8"), "data")
    const env = { ...process.env, TOGETHER_API_KEY: "any", TOGETHER_BASE_URL: address.trim() }

    for (const [i, source] of sources.entries()) {
      const file = isTest(source) ? `${i}.test.js` : `${i}.js`
      writeFileSync(join(user, file), transformSync(source.text, { loader: "ts", format: "esm" }).code)
      if (isTest(source)) {
        run(process.execPath, ["node_modules/vitest/vitest.mjs", "run", file], user, env)
        continue
      }
      const { status, stdout } = capture(process.execPath, [file], user, env)
      assert.strictEqual(status, 0, `block ${i + 1} of README.md`)
      if (source.printed !== undefined) assert.strictEqual(steady(stdout), steady(source.printed))
    }
    emulator.kill()
  }
}
