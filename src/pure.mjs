// Marks the calls of the modules that `tsc` has built as free of effects, as Effect's own packages do: a bundler then leaves
// out what a program does not use.
//
//     node src/pure.mjs
import { transformFileSync } from "@babel/core"
import { readdirSync, writeFileSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"

const dist = fileURLToPath(new URL("../dist", import.meta.url))

for (const name of readdirSync(dist, { recursive: true }).filter((name) => /^(?!cli\b).*\.js$/.test(name))) {
  const file = join(dist, name)
  const { code, map } = transformFileSync(file, {
    babelrc: false,
    configFile: false,
    compact: false,
    plugins: ["annotate-pure-calls"],
    sourceMaps: true // from the one that `tsc` made
  })
  writeFileSync(file, `${code}\n//# sourceMappingURL=${basename(name)}.map\n`)
  writeFileSync(`${file}.map`, JSON.stringify(map))
}
