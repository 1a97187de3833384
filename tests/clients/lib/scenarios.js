'use strict'
// What the documentation shows of clients, for any WebSocket library.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { endings } = require('./endings')
const { Server } = require('./server')

const PUBLISH = 'realtime:publisher:write:topic:*'
const INBOUND = 'realtime:subscriber:read:topic:secure/inbound'

/**
 * Registers the scenarios. `connect(url)` resolves to a Session with `send(text)`, `sendBinary(bytes)`, `close()` and
 * a promise `closed` of {code, reason}; its frames are {topic, messageType, data, compression}. `tellsCompression` says
 * whether the library shows its users that a message was compressed, `refusedAs` which code it makes of a refused upgrade.
 */
function clientScenarios (name, connect, { tellsCompression, refusedAs = 1006 }) {
  let server
  let number = 0
  const sessions = []

  /** An app of its own for each scenario, so that they share nothing. */
  const app = (change) => server.createApp(`${name} ${++number}`, change)

  const open = async (app, subject, permissions, query) => {
    const session = await connect(app.url(subject, permissions, query))
    sessions.push(session)
    const welcome = await session.expect('main', 'welcome')
    session.id = welcome.data.connection.id
    return session
  }

  test(name, async (t) => {
    server = await Server.start()
    t.after(async () => {
      for (const session of sessions) await session.close()
      await server.stop()
    })

    await t.test('a session begins with the welcome on main', async () => {
      const it = await app()
      const session = await connect(it.url('user0@example.com', []))
      sessions.push(session)
      const { data } = await session.expect('main', 'welcome')
      assert.match(data.connection.id, /^[0-9a-f]{32}$/)
      assert.equal(data.connection.appId, it.id)
      assert.equal(data.connection.remoteAddress, '127.0.0.1')
    })

    await t.test('topics are subscribed and unsubscribed', async () => {
      const it = await app()
      const session = await open(it, 'user0', [])
      await session.send(JSON.stringify({ type: 'subscribe', data: { topic: 'topic1' } }))
      await session.send(JSON.stringify({ type: 'subscribe', data: { topic: 'topic2' } }))
      await session.expect('topic1', 'welcome')
      await session.expect('topic2', 'welcome')
      assert.equal(it.publish('topic1', 'Hello Pub/Sub!').status, 200)
      assert.equal((await session.expect('topic1', 'broadcast')).data, 'Hello Pub/Sub!')
      await session.send(JSON.stringify({ type: 'unsubscribe', data: { topic: 'topic1' } }))
      await session.expectNothing()
      assert.equal(it.publish('topic1', 'gone').status, 200)
      assert.equal(it.publish('topic2', { hello: 'world' }).status, 200)
      assert.deepEqual((await session.expect('topic2', 'broadcast')).data, { hello: 'world' })
    })

    await t.test('a client publishes to others and to itself', async () => {
      const it = await app()
      const [alice, bob] = [await open(it, 'alice', [PUBLISH]), await open(it, 'bob', [])]
      await alice.send(JSON.stringify({
        type: 'publish',
        data: { topic: 'main', payload: 'hello', id: '52' }
      }))
      for (const session of [alice, bob]) {
        const frame = await session.expect('main', 'broadcast')
        const client = { connectionId: alice.id, subject: 'alice' }
        assert.deepEqual(frame.data, { client, payload: 'hello', id: '52' })
        assert.ok(!frame.compression)
      }
      await bob.send(JSON.stringify({ type: 'publish', data: { topic: 'main', payload: 'x', id: '53' } }))
      assert.equal((await bob.expect('priv/errors', 'error')).data.code, 'permission_denied')
    })

    await t.test('compressed messages arrive, over WebSocket and HTTP', async () => {
      const it = await app()
      const [alice, bob] = [await open(it, 'alice', [PUBLISH]), await open(it, 'bob', [])]
      const payload = { text: 'again and again '.repeat(50) }
      await alice.send(JSON.stringify({ type: 'publish', data: { topic: 'main', payload, id: '52', compress: true } }))
      for (const session of [alice, bob]) {
        const frame = await session.expect('main', 'broadcast')
        assert.deepEqual(frame.data.payload, payload)
        if (tellsCompression) assert.equal(frame.compression, true)
      }
      assert.equal(it.publish('main', payload, true).status, 200)
      const compressed = await bob.expect('main', 'broadcast')
      assert.deepEqual(compressed.data, payload)
      if (tellsCompression) assert.equal(compressed.compression, true)
      assert.equal(it.publish('main', payload, false).status, 200)
      const both = await alice.expect('main', 'broadcast')
      assert.equal(Boolean(both.compression), tellsCompression, 'the first of the two')
      assert.ok(!(await alice.expect('main', 'broadcast')).compression)
      assert.ok(!(await bob.expect('main', 'broadcast')).compression)
    })

    await t.test('secure topics need the permission', async () => {
      const it = await app()
      const reader = await open(it, 'reader', ['realtime:subscriber:read:topic:secure/logs/*'])
      const other = await open(it, 'other', [])
      await reader.subscribe('secure/logs/1')
      await other.send(JSON.stringify({ type: 'subscribe', data: { topic: 'secure/logs/1' } }))
      assert.equal((await other.expect('priv/errors', 'error')).data.code, 'permission_denied')
      assert.equal(it.publish('secure/logs/1', 'secret').status, 200)
      assert.equal((await reader.expect('secure/logs/1', 'broadcast')).data, 'secret')
      await other.expectNothing()
    })

    await t.test('private topics reach one connection and one subject', async () => {
      const it = await app()
      const user = await open(it, 'user0@example.com', [])
      const other = await open(it, 'other', [PUBLISH])
      for (const topic of [`priv/${user.id}`, 'priv/user0@example.com']) {
        assert.equal(it.publish(topic, 'from a service').status, 200)
        assert.equal((await user.expect(topic, 'broadcast')).data, 'from a service')
        await other.send(JSON.stringify({ type: 'publish', data: { topic, payload: 'from a client' } }))
        assert.equal((await user.expect(topic, 'broadcast')).data.payload, 'from a client')
      }
      await other.expectNothing()
    })

    await t.test('a backend answers inbound messages on the private topic', async () => {
      const it = await app()
      const backend = await open(it, 'backend', [INBOUND, PUBLISH])
      await backend.subscribe('secure/inbound')
      const client = await open(it, 'client', [])
      await backend.expect('secure/inbound', 'presence')
      await client.send(JSON.stringify({ type: 'message', data: { payload: 'hello', id: '52', compress: true } }))
      const { data, compression } = await backend.expect('secure/inbound', 'broadcast')
      assert.deepEqual(data, {
        client: { connectionId: client.id, subject: 'client', permissions: [] }, payload: 'hello', id: '52'
      })
      if (tellsCompression) assert.equal(compression, true)
      const topic = `priv/${data.client.connectionId}`
      const payload = { data: 'hi', status: 'ok', id: data.id }
      await backend.send(JSON.stringify({ type: 'publish', data: { topic, payload, messageType: 'response' } }))
      assert.deepEqual((await client.expect(topic, 'response')).data.payload, payload)
    })

    await t.test('messages and publishes are acknowledged in both formats', async () => {
      const it = await app({ clientInboundAckEnabled: true })
      const plain = await open(it, 'plain', [PUBLISH])
      const enveloped = await open(it, 'enveloped', [PUBLISH], '&ack_format=envelope')
      for (const [session, expected] of [[plain, '528c3s4-3d8y'], [enveloped, { data: '528c3s4-3d8y' }]]) {
        await session.send(JSON.stringify({ type: 'message', data: { payload: 'hello', id: '528c3s4-3d8y' } }))
        assert.deepEqual((await session.expect('priv/acks', 'ack')).data, expected)
        await session.send(JSON.stringify({
          type: 'publish', data: { topic: 'nobody', payload: 'hello', id: '528c3s4-3d8y' }
        }))
        assert.deepEqual((await session.expect('priv/acks', 'ack')).data, expected)
      }
    })

    await t.test('presence tells who comes and goes', async () => {
      const it = await app()
      const backend = await open(it, 'backend', [INBOUND])
      await backend.subscribe('secure/inbound')
      const user = await open(it, 'user0@example.com', ['some:permission'])
      const client = { connectionId: user.id, subject: 'user0@example.com', permissions: ['some:permission'] }
      const connected = await backend.expect('secure/inbound', 'presence')
      assert.deepEqual(connected.data, { client, subProtocol: 1, payload: { code: 0, status: 'connected' } })
      await user.close()
      const gone = await backend.expect('secure/inbound', 'presence')
      assert.deepEqual(gone.data, { client, subProtocol: 1, payload: { code: -1, status: 'disconnected' } })
    })

    await t.test('binary frames are read like text', async () => {
      const it = await app()
      const session = await open(it, 'user0', [PUBLISH])
      const publish = JSON.stringify({ type: 'publish', data: { topic: 'main', payload: 'from bytes: ä' } })
      await session.sendBinary(new TextEncoder().encode(publish))
      const frame = await session.expect('main', 'broadcast')
      assert.equal(frame.data.payload, 'from bytes: ä')
      assert.ok(!frame.compression)
    })

    await endings(t, {
      app,
      open,
      connect: async (url) => {
        sessions.push(await connect(url))
        return sessions.at(-1)
      },
      refusedAs
    })
  })
}

/** Sends a message through a relay; its frames must be compressed in both directions. */
async function assertCompressed (session, counted) {
  const payload = 'again and again '.repeat(250)
  const before = { ...counted }
  await session.send(JSON.stringify({ type: 'publish', data: { topic: 'main', payload, compress: true } }))
  assert.equal((await session.expect('main', 'broadcast')).data.payload, payload)
  for (const direction of ['sent', 'received']) {
    const bytes = counted[direction] - before[direction]
    assert.ok(bytes < payload.length / 4, `${direction}: ${bytes} bytes`)
  }
}

module.exports = { assertCompressed, clientScenarios, INBOUND, PUBLISH }
