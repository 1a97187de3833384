'use strict'
// How sessions end, and how their users learn it, for any WebSocket library.

const assert = require('node:assert/strict')
const { Server } = require('./server')

/** How long a drain lasts. */
const DRAIN_SECONDS = '1'

/**
 * Registers the scenarios. `app(change)` makes an application, `open(app, subject, permissions)` a session that has
 * had its welcome, `connect(url)` one that need not get one; the library makes the code `refusedAs` of a refused upgrade.
 */
async function endings (t, { app, open, connect, refusedAs }) {
  const frame = (type, data) => JSON.stringify({ type, data })

  await t.test('an invalid message ends the session with the documented reason', async () => {
    const session = await open(await app(), 'user0', [])
    await session.send('hello')
    assert.deepEqual(await session.closed, { code: 1008, reason: 'Invalid message format!' })
  })

  await t.test('a message over the limit ends the session', async () => {
    const session = await open(await app(), 'user0', [])
    await session.send(frame('message', { payload: 'x'.repeat(5120) }))
    assert.deepEqual(await session.closed, { code: 1009, reason: 'Message too big' })
  })

  await t.test('a refused subscription ends the session where the application says so', async () => {
    const session = await open(await app({ refusedSubscriptionPolicy: 'close' }), 'user0', [])
    await session.send(frame('subscribe', { topic: 'secure/logs' }))
    assert.deepEqual(await session.closed, { code: 1008, reason: 'Subscription to secure topic is forbidden!' })
  })

  await t.test('an administrator ends the session', async () => {
    const it = await app()
    const session = await open(it, 'user0', [])
    assert.equal(it.disconnect(session.id).status, 204)
    assert.deepEqual(await session.closed, { code: 4003, reason: 'Closed by an administrator' })
  })

  await t.test('the session ends with its application', async () => {
    const it = await app()
    const session = await open(it, 'user0', [])
    await it.server.operator('DELETE', `/apps/${it.id}`)
    assert.deepEqual(await session.closed, { code: 4004, reason: 'Application deleted or disabled' })
  })

  await t.test('the session ends with its token where the application says so', async () => {
    const it = await app({ disconnectOnTokenExpiry: true })
    const session = await connect(it.urlWith(it.token('user0', [], 2)))
    await session.expect('main', 'welcome')
    assert.deepEqual(await session.closed, { code: 4001, reason: 'Token expired' })
  })

  await t.test('a second connection of a subject is turned away, or replaces the first', async () => {
    const subjectLimit = { code: 4009, reason: 'Connection limit of the subject' }
    const rejecting = await app()
    const first = await open(rejecting, 'user0', [])
    assert.deepEqual(await (await connect(rejecting.url('user0', []))).closed, subjectLimit)
    await first.expectNothing()
    const replacing = await app({ connectionLimitPolicy: 'replace' })
    const old = await open(replacing, 'user0', [])
    const fresh = await open(replacing, 'user0', [])
    assert.deepEqual(await old.closed, subjectLimit)
    await fresh.expectNothing()
  })

  await t.test('a refusal is a close code for who asks for it, and says nothing to others', async () => {
    const it = await app()
    const url = it.urlWith('malformed')
    assert.deepEqual(await (await connect(`${url}&refusals=close`)).closed, { code: 4401, reason: 'unauthenticated' })
    assert.equal((await (await connect(url)).closed).code, refusedAs)
  })

  await t.test('a draining node ends the session, and another one takes it', async (t) => {
    const node = await Server.start('--drain-seconds', DRAIN_SECONDS)
    t.after(() => node.stop())
    const session = await open(await node.createApp('drained'), 'user0', [])
    node.terminate()
    assert.deepEqual(await session.closed, { code: 1001, reason: 'Node is draining' })
    await open(await app(), 'user0', [])
  })
}

module.exports = { endings }
