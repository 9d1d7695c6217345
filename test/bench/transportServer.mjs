// Responds to every request at once with the document of its path, for the requested job. The server is minimal, so
// that the clients are the bottleneck.
import { Buffer } from "node:buffer"
import { createServer } from "node:net"

const idOf = (text) => /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(text)

const documents = JSON.parse(process.argv[2]).map(([path, document]) => {
  const body = JSON.stringify(document)
  const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
  return {
    path,
    answer: Buffer.from(head + body),
    id: head.length + idOf(body).index,
    progress: head.length + body.indexOf("0.4000001")
  }
})

let answered = 0

createServer((socket) => {
  socket.setNoDelay(true)
  socket.on("error", () => {})
  socket.on("data", (data) => {
    // a request is small, and arrives alone: no client sends two at a time over one connection
    const line = data.latin1Slice(0, data.indexOf("\r\n"))
    const { answer, id, path, progress } = documents.find(({ path }) => line.includes(path))
    const copy = Buffer.from(answer)
    copy.latin1Write(idOf(line)[0], id)
    if (path.startsWith("/changing")) copy.latin1Write(`${1_000_000 + answered++ % 1_000_000}`.slice(1), progress + 2)
    socket.write(copy)
  })
}).listen(0, "127.0.0.1", function() {
  process.send(this.address().port)
})
process.on("disconnect", () => process.exit(0))
