'use strict'
// The npm package `websocket`, as the documentation's subscriber demo uses it.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { w3cwebsocket: WebSocket } = require('websocket')
const { clientScenarios } = require('../lib/scenarios')
const { Server } = require('../lib/server')
const { Session } = require('../lib/session')

async function connect (url) {
  const session = new Session()
  const ws = new WebSocket(url)
  ws.onmessage = (event) => {
    // Parse incoming WebSocket messages
    const { topic, messageType, data } = event.data instanceof ArrayBuffer
      ? JSON.parse(new TextDecoder().decode(event.data)) // compression is enabled
      : JSON.parse(event.data)
    session.received({ topic, messageType, data, compression: event.data instanceof ArrayBuffer })
  }
  session.closed = new Promise((resolve) => {
    ws.onclose = (event) => resolve({ code: event.code, reason: event.reason })
  })
  session.send = async (text) => ws.send(text)
  session.sendBinary = async (bytes) => ws.send(bytes)
  session.close = async () => ws.close()
  session.extensions = () => ws.extensions
  return session
}

clientScenarios('websocket', connect, { tellsCompression: true })

test('websocket asks for no compression, and gets frames that are binary and plain', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('plain')
  const session = await connect(app.url('user0', []))
  await session.expect('main', 'welcome')
  assert.ok(!session.extensions()?.length)
  assert.equal(app.publish('main', 'hello', true).status, 200)
  const { data, compression } = await session.expect('main', 'broadcast')
  assert.deepEqual([data, compression], ['hello', true])
  await session.close()
})
