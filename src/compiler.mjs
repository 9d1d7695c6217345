// The compiler that builds and checks the package: TypeScript 7 with the rules of the Effect language service.
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

const { resolve } = createRequire(createRequire(import.meta.url).resolve("@effect/tsgo/package.json"))

/** The path of the executable, which takes the arguments of `tsc`. */
export const compiler = join(
  dirname(resolve(`@effect/tsgo-${process.platform}-${process.arch}/package.json`)),
  "lib",
  process.platform === "win32" ? "tsc.exe" : "tsc"
)
