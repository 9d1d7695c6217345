import { afterEach } from "vitest"

// No test depends on the proxies of its caller. Those that are about proxies name them.
for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) {
  delete process.env[name]
  delete process.env[name.toLowerCase()]
}

// A property runs for a second or two without letting go of the thread. Between two of them the runner must be heard, or
// on a busy machine it takes the worker for dead.
afterEach(() => new Promise((resolve) => setImmediate(resolve)))
