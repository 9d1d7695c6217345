// Bundles the command with all that it needs, so that it runs wherever Node does: one file, and others for what few commands
// need. Beside them are the licences of what is in there.
//
//     node src/cli/bundle.mjs [FOLDER]    defaults to dist/bin
import { build } from "esbuild"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { argv } from "node:process"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const folder = argv[2] ?? join(root, "dist", "bin")

// Some of what it needs is CommonJS, and asks for Node's modules by `require`.
const head = `#!/usr/bin/env node
import { createRequire as createRequireOf } from "node:module"
const require = createRequireOf(import.meta.url)`

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: { "queue-status": "src/cli/main.ts" },
  outdir: folder,
  splitting: true,
  banner: { js: head },
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none", // all of them are in the file below
  metafile: true,
  logLevel: "warning",
  external: ["pg-native", "msgpackr-extract"] // optional and native: what needs them goes on without
})

const bundled = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs))
const packages = new Set(bundled.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []))

const licences = Array.from(packages).sort().map((path) => {
  const read = (file) => readFileSync(join(root, path, file), "utf8")
  const find = (name) => readdirSync(join(root, path)).find((file) => name.test(file))
  const { license, name, version } = JSON.parse(read("package.json"))
  const file = find(/^licen[cs]e/i)
  // some have it at the end of their README
  const text = file === undefined ? /^#+ *licen[cs]e[^]*/im.exec(read(find(/^readme/i)))?.[0] : read(file)
  if (!["MIT", "ISC", "Apache-2.0"].includes(license) || !/copyright/i.test(text)) {
    throw new Error(`${name} ${version} (${license}, ${file ?? "no file"}): look whether it may be bundled`)
  }
  return `${name} ${version}\n\n${text.trim()}\n`
})
writeFileSync(join(folder, "LICENSES"), `The command contains:\n\n${licences.join(`\n${"-".repeat(80)}\n\n`)}`)
