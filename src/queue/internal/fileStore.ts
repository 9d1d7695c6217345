import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import { jsonPrint } from "../../model/internal/fingerprint.js"

// the most that file systems allow, without "=new"
const maxLength = 251

// no encoded key contains an equals sign
const nameOf = (key: string): string => {
  const name = encodeURIComponent(key)
  return name.length <= maxLength ? name : `${name.slice(0, 200)}=${jsonPrint(key)}`
}

/**
 * Creates a store in files, one for each key, in a directory that is created if it is missing. A new value is written to
 * the disk beside the previous one and replaces it atomically: a crash of the program or the machine leaves one of the
 * two. The names of the files are those of `KeyValueStore.layerFileSystem`, which does not guarantee that; a name that would
 * be too long ends with a hash.
 *
 * @internal
 */
export const fileStore = (
  directory: string
): Effect.Effect<KeyValueStore.KeyValueStore, PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const encoder = new TextEncoder()
    yield* fs.makeDirectory(directory, { recursive: true })
    const fileOf = (key: string) => path.join(directory, nameOf(key))
    // not every system can open a directory; if it can, the rename is durable from here on
    const syncDirectory = Effect.ignore(
      Effect.scoped(Effect.flatMap(fs.open(directory, { flag: "r" }), (file) => file.sync))
    )
    return KeyValueStore.makeStringOnly({
      get: (key) =>
        Effect.catchIf(
          Effect.asSome(fs.readFileString(fileOf(key))),
          (error) => error._tag === "SystemError" && error.reason === "NotFound",
          () => Effect.succeedNone
        ),
      set: (key, text) =>
        Effect.gen(function*() {
          const beside = `${fileOf(key)}=new`
          const written = Effect.flatMap(
            fs.open(beside, { flag: "w" }),
            (file) => Effect.zipRight(file.writeAll(encoder.encode(text)), file.sync)
          )
          yield* Effect.scoped(written)
          yield* fs.rename(beside, fileOf(key))
          yield* syncDirectory
          // an interrupted rename may happen after a later operation
        }).pipe(Effect.uninterruptible),
      remove: (key) => Effect.uninterruptible(fs.remove(fileOf(key), { force: true })),
      clear: Effect.zipRight(
        fs.remove(directory, { recursive: true }),
        fs.makeDirectory(directory, { recursive: true })
      ),
      size: Effect.map(fs.readDirectory(directory), (names) => names.filter((name) => !name.endsWith("=new")).length)
    })
  })
