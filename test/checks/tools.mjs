// What the checks that are more than one command share. npm, which runs them, puts the tools on the PATH.
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

/** A link to a file or folder, in a folder that is made where there is none. */
export const link = (target, path) => {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path, "junction")
}

/** Runs a command to its end, and shows what it writes; gives its status and what it wrote to the standard output. */
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

/** Runs a command, and shows what it writes. Where it fails, so does this process. */
export const run = (command, args, cwd = root, env = process.env) => {
  console.log(`$ ${command} ${args.join(" ")}`)
  const { error, status } = spawnSync(command, args, { cwd, env, stdio: ["ignore", "inherit", "inherit"] })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}
