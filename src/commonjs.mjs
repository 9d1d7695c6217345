// Makes the CommonJS twin of what `tsc` has built, for programs that `require` it (Jest, for one), so that they share
// their one copy of `effect` with it.
//
//     node src/commonjs.mjs
import { build } from "esbuild"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const from = fileURLToPath(new URL("../dist", import.meta.url))
const to = join(from, "cjs")

const files = readdirSync(from, { recursive: true }).filter((name) => !/^(bin|cjs|cli)\b/.test(name))

await build({
  absWorkingDir: from,
  entryPoints: files.filter((name) => name.endsWith(".js")),
  outdir: to,
  format: "cjs",
  platform: "node",
  target: "node20",
  sourcemap: true,
  sourcesContent: false,
  logLevel: "warning"
})
writeFileSync(join(to, "package.json"), `${JSON.stringify({ type: "commonjs", sideEffects: false })}\n`)

// The same types, where TypeScript takes them for those of CommonJS.
for (const name of files.filter((name) => name.endsWith(".d.ts"))) {
  writeFileSync(join(to, name), readFileSync(join(from, name), "utf8").replace(/^\/\/# sourceMappingURL=.*\n?/m, ""))
}
