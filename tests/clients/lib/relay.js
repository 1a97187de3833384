'use strict'
// A TCP relay before a server: it counts what passes, as only the wire shows whether a message was compressed.

const net = require('node:net')

/** Relays to `host` (`name:port`) until the test has ended. */
async function relay (t, host) {
  const [name, port] = host.split(':')
  const counted = { sent: 0, received: 0 }
  const sockets = new Set()
  const server = net.createServer((client) => {
    const upstream = net.connect(Number(port), name)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      // Either end may go first, and take the other with it.
      socket.on('error', () => {})
      socket.on('close', () => { client.destroy(); upstream.destroy() })
    }
    client.on('data', (bytes) => { counted.sent += bytes.length })
    upstream.on('data', (bytes) => { counted.received += bytes.length })
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return { host: `127.0.0.1:${server.address().port}`, counted }
}

module.exports = { relay }
