// Helpers for the checks with more than one command. npm, which runs them, puts the tools on the PATH.
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))
export const modules = join(root, "node_modules")
export const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** A folder that is removed when this process ends. */
export const temporary = () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "effect-queue-status-")))
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

/** Creates a link to a file or folder, and its parent folder if needed. */
export const link = (target, path) => {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path, "junction")
}

/** Runs a command to its end, and shows its output. Returns its status and its standard output. */
export const capture = (command, args, cwd = root, env = process.env) => {
  const { error, status, stdout } = spawnSync(command, args, {
    cwd,
    env,
    encoding: "utf8",
    maxBuffer: Infinity,
    stdio: ["ignore", "pipe", "inherit"]
  })
  if (error) throw error
  return { status, stdout }
}

/** Runs a command, and shows its output. If it fails, this process fails. */
export const run = (command, args, cwd = root, env = process.env) => {
  console.log(`$ ${command} ${args.join(" ")}`)
  const { error, status } = spawnSync(command, args, { cwd, env, stdio: ["ignore", "inherit", "inherit"] })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}
