import { afterEach } from "vitest"

// A property runs for a second or two without letting go of the thread. Between two of them the runner must be heard, or
// on a busy machine it takes the worker for dead.
afterEach(() => new Promise((resolve) => setImmediate(resolve)))
