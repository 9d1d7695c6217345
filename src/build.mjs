// Builds `dist`: `npm run build`.
import { spawnSync } from "node:child_process"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { compiler } from "./compiler.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
rmSync(join(root, "dist"), { recursive: true, force: true })
const { error, status } = spawnSync(compiler, ["-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" })
if (error) throw error
if (status !== 0) process.exit(status ?? 1)

// each step changes what those before it have made
for (const step of ["pure", "commonjs", "entries", "cli/bundle"]) await import(`./${step}.mjs`)
