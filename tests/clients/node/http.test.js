'use strict'
// The documentation's curl commands, word for word but for host and scheme.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const WebSocket = require('ws')
const { Server } = require('../lib/server')
const { Session } = require('../lib/session')

const PUBLISH = 'realtime:publisher:write:topic:*'
const SUBSCRIBERS = 'realtime:admin:manage:subscribers'
const CONNECTIONS = 'realtime:admin:manage:connections'

async function connect (app, subject, permissions) {
  const session = new Session()
  const ws = new WebSocket(app.url(subject, permissions))
  ws.onmessage = (event) => session.received(JSON.parse(event.data))
  session.closed = new Promise((resolve) => { ws.onclose = (event) => resolve(event.code) })
  session.send = async (text) => ws.send(text)
  session.id = (await session.expect('main', 'welcome')).data.connection.id
  return session
}

test('the HTTP endpoints answer the documented commands', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())

  await t.test('health', async () => {
    const app = await server.createApp('health')
    const { status, body } = app.curl('GET', '/health/status')
    assert.deepEqual([status, body.status], [200, 'ok'])
  })

  await t.test('publish', async () => {
    const app = await server.createApp('publish')
    const session = await connect(app, 'user0', [])
    const data = '{"topic":"main","message":{"hello":"world"},"compress":false}'
    const { status, body } = app.curl('POST', `/topics/${app.id}/publish`, { permissions: [PUBLISH], body: data })
    assert.equal(status, 200, JSON.stringify(body))
    assert.equal(body.bytes, '{"hello":"world"}'.length)
    assert.deepEqual((await session.expect('main', 'broadcast')).data, { hello: 'world' })
  })

  await t.test('unsubscribe', async () => {
    const app = await server.createApp('unsubscribe')
    const session = await connect(app, 'user0@example.com', ['realtime:subscriber:read:topic:secure/*'])
    await session.subscribe('secure/logs/1')
    await session.subscribe('secure/other')
    const data = '{"topicPatterns":["secure/logs/*"],"subject":"user0@example.com"}'
    const path = `/topics/${app.id}/unsubscribe`
    const { status, body } = app.curl('POST', path, { permissions: [SUBSCRIBERS], body: data })
    assert.deepEqual([status, body], [200, { subscriptions: 1 }])
    app.publish('secure/logs/1', 'lost')
    app.publish('secure/other', 'kept')
    assert.equal((await session.expect('secure/other', 'broadcast')).data, 'kept')
  })

  await t.test('terminate one connection, and all', async () => {
    const app = await server.createApp('terminate')
    const [a, b, c] = [await connect(app, 'a', []), await connect(app, 'b', []), await connect(app, 'c', [])]
    const one = app.curl('DELETE', `/connections/${app.id}/${a.id}`, { permissions: [CONNECTIONS] })
    assert.equal(one.status, 204)
    assert.equal(await a.closed, 4003)
    const all = app.curl('DELETE', `/connections/${app.id}`, { permissions: [CONNECTIONS] })
    assert.deepEqual([all.status, all.body], [200, { connections: 2 }])
    assert.deepEqual([await b.closed, await c.closed], [4003, 4003])
  })

  await t.test('a token with all the documented roles passes each call', async () => {
    const app = await server.createApp('roles')
    const permissions = [PUBLISH, SUBSCRIBERS, CONNECTIONS]
    const calls = [
      ['POST', `/topics/${app.id}/publish`, '{"topic":"main","message":"x"}'],
      ['POST', `/topics/${app.id}/unsubscribe`, '{"topicPatterns":["*"],"subject":"nobody"}'],
      ['DELETE', `/connections/${app.id}`, undefined]
    ]
    for (const [method, path, body] of calls) {
      assert.equal(app.curl(method, path, { permissions, body }).status, 200, path)
      assert.equal(app.curl(method, path, { permissions: [], body }).status, 403, path)
      assert.equal(app.curl(method, path, { body }).status, 401, path)
    }
  })
})
