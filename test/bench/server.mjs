// Answers every request with the document it was started with.
import { Buffer } from "node:buffer"
import { createServer } from "node:http"

const body = Buffer.from(process.argv[2])
const server = createServer((request, response) => {
  request.resume()
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length })
  response.end(body)
})
server.listen(0, "127.0.0.1", () => process.send(server.address().port))
process.on("disconnect", () => process.exit(0))
