import * as FastCheck from "effect/FastCheck"
import { isDeepStrictEqual } from "node:util"
import { afterEach, chai, inject } from "vitest"

// `npm test` tries the same cases each time: that it passes depends on nothing but the code. `npm run test:deep` tries more
// cases, and others each time; continuous integration gives it a seed.
FastCheck.configureGlobal({ ...FastCheck.readConfigureGlobal(), seed: inject("seed") | 0 })

// A property runs for a second or two without letting go of the thread. Between two of them the runner must be heard, or
// on a busy machine it takes the worker for dead.
afterEach(() => new Promise((resolve) => setImmediate(resolve)))

// That of chai compares two errors by name and message alone, and takes `Option.none()` for equal to any `Option.some`.
chai.config.deepEqual = isDeepStrictEqual
