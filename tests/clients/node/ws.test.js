'use strict'
// Node's `ws` under `reconnecting-websocket`, as the documentation's auto-reconnection demo uses them.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const ReconnectingWebSocket = require('reconnecting-websocket')
const WebSocket = require('ws')
// The `ws` of the documentation's days. Since 8.19 `ws` knows Blobs, and reconnecting-websocket, which asks for
// Blobs by default, then hands them to the documentation's handler, from whichever server they come.
const WebSocketOf2023 = require('ws-2023')
const { assertCompressed, clientScenarios, PUBLISH } = require('../lib/scenarios')
const { relay } = require('../lib/relay')
const { Server } = require('../lib/server')
const { Session } = require('../lib/session')

/** The documentation's handler; `ws` is either library's object. */
function follow (ws, session) {
  ws.onmessage = (event) => {
    // Parse incoming WebSocket messages
    // Compression is handled transparently, no need for decoding on handler
    const { topic, messageType, data } = JSON.parse(event.data)
    session.received({ topic, messageType, data })
  }
  session.closed = new Promise((resolve) => {
    ws.onclose = (event) => resolve({ code: event.code, reason: event.reason })
  })
  // A refused upgrade; the close event follows.
  ws.onerror = () => {}
  session.send = async (text) => ws.send(text)
  session.sendBinary = async (bytes) => ws.send(bytes)
  session.close = async () => ws.close()
}

clientScenarios('ws', async (url) => {
  const session = new Session()
  follow(new WebSocket(url), session)
  return session
}, { tellsCompression: false })

clientScenarios('ws of 2023 with reconnecting-websocket', async (url) => {
  const session = new Session()
  follow(new ReconnectingWebSocket(url, [], { WebSocket: WebSocketOf2023, maxRetries: 0 }), session)
  return session
}, { tellsCompression: false, refusedAs: 1000 })

clientScenarios('ws with reconnecting-websocket', async (url) => {
  const session = new Session()
  const ws = new ReconnectingWebSocket(url, [], { WebSocket, maxRetries: 0 })
  // The one line that a present `ws` needs besides.
  ws.binaryType = 'nodebuffer'
  follow(ws, session)
  return session
}, { tellsCompression: false, refusedAs: 1000 })

test('ws negotiates permessage-deflate without context takeover, and compresses in both directions', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('deflate')
  const { host, counted } = await relay(t, server.host)
  const ws = new WebSocket(app.url('user0', [PUBLISH]).replace(server.host, host))
  const session = new Session()
  follow(ws, session)
  await session.expect('main', 'welcome')
  assert.equal(ws.extensions, 'permessage-deflate')
  await assertCompressed(session, counted)
  ws.close()
  await session.closed
})

test('reconnecting-websocket comes back after an administrator closed it', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('reconnect')
  const rws = new ReconnectingWebSocket(async () => app.url('user0', []), [], {
    WebSocket, minReconnectionDelay: 10, maxReconnectionDelay: 50
  })
  const session = new Session()
  follow(rws, session)
  const first = (await session.expect('main', 'welcome')).data.connection.id
  assert.equal(app.disconnect(first).status, 204)
  assert.equal((await session.closed).code, 4003)
  const second = (await session.expect('main', 'welcome')).data.connection.id
  assert.notEqual(second, first)
  rws.close()
})

test('reconnecting-websocket goes to another node after a drain, and sends what was queued meanwhile', async (t) => {
  const [first, second] = [await Server.start('--drain-seconds', '1'), await Server.start()]
  t.after(async () => { await first.stop(); await second.stop() })
  const apps = [await first.createApp('first'), await second.createApp('second')]
  const rws = new ReconnectingWebSocket(async () => apps[0].url('user0', [PUBLISH]), [], {
    WebSocket, minReconnectionDelay: 10, maxReconnectionDelay: 50
  })
  t.after(() => rws.close())
  const session = new Session()
  follow(rws, session)
  await session.expect('main', 'welcome')
  first.terminate()
  apps.shift()
  assert.deepEqual(await session.closed, { code: 1001, reason: 'Node is draining' })
  await session.send(JSON.stringify({ type: 'publish', data: { topic: 'main', payload: 'queued' } }))
  assert.equal((await session.expect('main', 'welcome')).data.connection.appId, apps[0].id)
  assert.equal((await session.expect('main', 'broadcast')).data.payload, 'queued')
})
