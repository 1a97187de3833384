'use strict'
// The published SDK, npm `realtime-pubsub-client`, as its README uses it, on an application configured for it.
// docs/protocol.md, "Published SDKs", says what of this its users should know.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { RealtimeClient } = require('realtime-pubsub-client')
const WebSocket = require('ws')
const WebSocketOf2023 = require('ws-2023')
const { INBOUND, PUBLISH } = require('../lib/scenarios')
const { DEADLINE_MS, Server } = require('../lib/server')

/** What the SDKs rely on. */
const FOR_SDKS = {
  clientInboundAckEnabled: true, clientInboundAckFormat: 'envelope', refusedSubscriptionPolicy: 'close'
}
/** Reconnects at once: the defaults wait for seconds. */
const FAST = { WebSocket, minReconnectionDelay: 10, maxReconnectionDelay: 50 }

let server
const clients = []

before(async () => { server = await Server.start() })
after(async () => {
  for (const client of clients) client.disconnect()
  await server.stop()
})

function newClient (urlProvider, options = {}, logger) {
  const client = new RealtimeClient({ websocketOptions: { ...FAST, urlProvider, ...options }, logger })
  // An emitter throws where nobody listens to its errors.
  client.errors = []
  client.on('error', (error) => client.errors.push(error.message))
  clients.push(client)
  return client
}

/** The arguments of the event, from now on. */
function next (client, event) {
  return client.waitFor(event, { timeout: DEADLINE_MS })
}

async function started (client) {
  const start = next(client, 'session.started')
  await client.connect()
  const [connection] = await start
  return connection
}

/** A client of a subject whose session has begun. */
async function open (app, subject, permissions = [], options = {}) {
  const client = newClient(async () => app.url(subject, permissions), options)
  client.connection = await started(client)
  return client
}

async function subscribe (client, topic) {
  const welcome = next(client, `${topic}.welcome`)
  client.subscribeRemoteTopic(topic)
  return welcome
}

let number = 0
const newApp = (change) => server.createApp(`sdk ${++number}`, { ...FOR_SDKS, ...change })

test('a session starts with what the connection is', async () => {
  const app = await newApp()
  const lines = []
  const note = (line) => lines.push(line)
  const logger = { log: note, info: note, debug: note, error: note }
  const client = newClient(async () => app.url('user0@example.com', []), {}, logger)
  const connection = await started(client)
  assert.match(connection.id, /^[0-9a-f]{32}$/)
  assert.deepEqual(connection, { id: connection.id, appId: app.id, remoteAddress: '127.0.0.1' })
  assert.ok(lines.includes('Session started!'))
})

test('remote topics are subscribed and unsubscribed, and events have wildcards', async () => {
  const app = await newApp()
  const client = await open(app, 'user0')
  const [welcome] = await subscribe(client, 'topic1')
  assert.deepEqual(welcome.data.connection, client.connection)
  await subscribe(client, 'topic2')
  const seen = []
  client.on('topic1.*', ({ topic, messageType, data }) => seen.push([topic, messageType, data]))
  let told = next(client, '*.broadcast')
  assert.equal(app.publish('topic1', { hello: 'world' }).status, 200)
  const [message] = await told
  assert.deepEqual(message,
    { topic: 'topic1', messageType: 'broadcast', data: { hello: 'world' }, compression: false })
  assert.equal(client.unsubscribeRemoteTopic('topic1'), client)
  await subscribe(client, 'fence')
  told = next(client, 'topic2.broadcast')
  assert.equal(app.publish('topic1', 'gone').status, 200)
  assert.equal(app.publish('topic2', 'there').status, 200)
  assert.equal((await told)[0].data, 'there')
  assert.deepEqual(seen, [['topic1', 'broadcast', { hello: 'world' }]])
})

test('publishing has an id, a message type and an acknowledgement', async () => {
  const app = await newApp()
  const client = await open(app, 'alice', [PUBLISH])
  await subscribe(client, 'topic1')
  const told = next(client, 'topic1.text-message')
  await client.publish('topic1', 'Hello, world!', { messageType: 'text-message', id: 'my-id' }).waitForAck(DEADLINE_MS)
  const [message] = await told
  const sender = { connectionId: client.connection.id, subject: 'alice' }
  assert.deepEqual(message.data, { client: sender, payload: 'Hello, world!', id: 'my-id' })
  // Ids of the SDK's own; also for nobody, and the empty text.
  await client.publish('nobody', { an: 'object' }).waitForAck(DEADLINE_MS)
  await client.publish('topic1', '').waitForAck(DEADLINE_MS)
  await client.send({ for: 'the backend' }).waitForAck(DEADLINE_MS)
})

test('acknowledgements need the envelope: of the application, or in the URL', async () => {
  const app = await newApp({ clientInboundAckFormat: 'id' })
  const asking = newClient(async () => app.url('asking', [PUBLISH], '&ack_format=envelope'))
  await started(asking)
  await asking.publish('main', 'x').waitForAck(DEADLINE_MS)
  const plain = await open(app, 'plain', [PUBLISH])
  const lost = next(plain, 'ack.undefined')
  const raw = next(plain, 'priv/acks.ack')
  plain.publish('main', 'x', { id: '52' })
  assert.equal((await raw)[0].data, '52')
  await lost
})

test('a client answers what another one published', async () => {
  const app = await newApp()
  const responder = await open(app, 'responder', [PUBLISH, 'realtime:subscriber:read:topic:secure/*'])
  await subscribe(responder, 'secure/peer-to-peer1')
  const acks = []
  responder.on('secure/peer-to-peer1.greeting', (message, reply) => {
    acks.push(reply({ you: message.data.payload }, 'ok').waitForAck(DEADLINE_MS))
  })
  const asker = await open(app, 'asker', [PUBLISH])
  const request = asker.publish('secure/peer-to-peer1', 'Hi', { messageType: 'greeting', id: '7' })
  const [response] = await request.waitForReply(DEADLINE_MS)
  assert.deepEqual(response, { data: { you: 'Hi' }, status: 'ok', id: '7' })
  await acks[0]
})

test('a backend answers what a client sent, compressed or not', async () => {
  const app = await newApp()
  const backend = await open(app, 'backend', [PUBLISH, INBOUND])
  await subscribe(backend, 'secure/inbound')
  const permissions = []
  backend.on('secure/inbound.create', (message, reply) => {
    permissions.push(message.data.client.permissions)
    reply('created', 'done', { compress: message.compression })
  })
  const client = await open(app, 'client', ['some:permission'])
  for (const compress of [false, true]) {
    const answered = next(client, `priv/${client.connection.id}.response`)
    const waiting = client.send({ name: 'x' }, { messageType: 'create', compress }).waitForReply(DEADLINE_MS)
    const [{ data, status }] = await waiting
    assert.deepEqual([data, status], ['created', 'done'])
    assert.equal((await answered)[0].compression, compress)
  }
  assert.deepEqual(permissions, [['some:permission'], ['some:permission']])
})

test('what a service published has nobody to reply to', async () => {
  const app = await newApp()
  const client = await open(app, 'user0', [PUBLISH])
  const told = next(client, 'main.broadcast')
  assert.equal(app.publish('main', { a: 1 }).status, 200)
  const [, reply] = await told
  assert.throws(() => reply('hello'), /Connection ID is not available/)
})

test('presence is an event of the inbound topic', async () => {
  const app = await newApp()
  const backend = await open(app, 'backend', [INBOUND])
  await subscribe(backend, 'secure/inbound')
  for (const [code, status] of [[0, 'connected'], [-1, 'disconnected']]) {
    const told = next(backend, 'secure/inbound.presence')
    if (code === 0) await open(app, 'user0')
    else clients.at(-1).disconnect()
    const [{ data }] = await told
    assert.equal(data.client.subject, 'user0')
    assert.deepEqual(data.payload, { code, status })
  }
})

test('a refused subscription closes the session, and the SDK comes back', async () => {
  const app = await newApp()
  const client = await open(app, 'user0')
  const [closed, again] = [next(client, 'close'), next(client, 'session.started')]
  client.subscribeRemoteTopic('secure/logs')
  const [{ code, reason }] = await closed
  assert.deepEqual([code, reason], [1008, 'Subscription to secure topic is forbidden!'])
  assert.notEqual((await again)[0].id, client.connection.id)
})

test('with the policy "error" a refusal is an event, and the session stays', async () => {
  const app = await newApp({ refusedSubscriptionPolicy: 'error' })
  const client = await open(app, 'user0')
  const told = next(client, 'priv/errors.error')
  client.subscribeRemoteTopic('secure/logs')
  const [{ data }] = await told
  assert.deepEqual([data.code, data.topic], ['permission_denied', 'secure/logs'])
  await subscribe(client, 'public')
})

test('after a close the SDK asks for a new URL, and the handler of session.started subscribes again', async () => {
  const app = await newApp()
  let asked = 0
  const client = newClient(async () => app.url(`user${++asked}`, [PUBLISH]))
  client.on('session.started', () => client.subscribeRemoteTopic('topic1'))
  const first = await started(client)
  const closed = next(client, 'close')
  const welcome = client.waitFor('topic1.welcome', {
    timeout: DEADLINE_MS, filter: ({ data }) => data.connection.id !== first.id
  })
  assert.equal(app.disconnect(first.id).status, 204)
  assert.equal((await closed)[0].code, 4003)
  await welcome
  assert.equal(asked, 2)
  const told = next(client, 'topic1.broadcast')
  client.publish('topic1', 'x')
  assert.equal((await told)[0].data.client.subject, 'user2')
})

test('a refused token is an error, and the next one is asked for', async () => {
  const app = await newApp()
  const tokens = [app.token('user0', [], -60), app.token('user0')]
  const client = newClient(async () => app.urlWith(tokens.shift()))
  await started(client)
  assert.deepEqual([client.errors, tokens], [['WebSocket error event'], []])
})

test('after a drain the SDK goes to another node, and sends what was queued meanwhile', async (t) => {
  const node = await Server.start('--drain-seconds', '1')
  t.after(() => node.stop())
  const apps = [await node.createApp('drained', FOR_SDKS), await newApp()]
  const client = newClient(async () => apps[0].url('user0', [PUBLISH]))
  await started(client)
  const [closed, again] = [next(client, 'close'), next(client, 'session.started')]
  node.terminate()
  apps.shift()
  assert.equal((await closed)[0].code, 1001)
  const acked = client.publish('main', 'queued').waitForAck(DEADLINE_MS)
  assert.equal((await again)[0].appId, apps[0].id)
  await acked
})

test('a client that reads too slowly is closed with 4008 and comes back', async () => {
  const app = await newApp({ tier: 'unlimited' })
  const sockets = []
  class Followed extends WebSocket {
    constructor (...args) {
      super(...args)
      sockets.push(this)
    }
  }
  const client = await open(app, 'slow', [], { WebSocket: Followed })
  const [closed, again] = [next(client, 'close'), next(client, 'session.started')]
  sockets[0].pause()
  const gone = () => app.curl('GET', `/connections/${app.id}?subject=slow`,
    { permissions: ['realtime:admin:manage:connections'] }).body.items.length === 0
  const publisher = await open(app, 'publisher', [PUBLISH])
  publisher.unsubscribeRemoteTopic('main')
  // Until the kernel's buffers are full and 64 KB wait in the server.
  do {
    for (let i = 0; i < 500; i++) publisher.publish('main', 'x'.repeat(4500))
    await publisher.publish('nobody', 'x').waitForAck(DEADLINE_MS)
  } while (!gone())
  sockets[0].resume()
  const [{ code, reason }] = await closed
  assert.deepEqual([code, reason], [4008, 'Slow consumer'])
  await again
})

test('the second client of a subject tries until the first has gone', async () => {
  const app = await newApp()
  const first = await open(app, 'user0')
  const second = newClient(async () => app.url('user0', []))
  const [closed, start] = [next(second, 'close'), next(second, 'session.started')]
  await second.connect()
  assert.equal((await closed)[0].code, 4009)
  first.disconnect()
  await start
})

test('after its application is gone, the SDK tries in vain until it is told to stop', async () => {
  const app = await newApp()
  const client = await open(app, 'user0')
  const [closed, refused] = [next(client, 'close'), next(client, 'error')]
  await server.operator('DELETE', `/apps/${app.id}`)
  assert.equal((await closed)[0].code, 4004)
  await refused
  assert.equal(client.disconnect(), client)
  assert.throws(() => client.publish('main', 'x'), /not established/)
})

test('what is sent before the connection is there is sent once it is', async () => {
  const app = await newApp()
  const client = newClient(async () => app.url('user0', [PUBLISH]))
  const told = next(client, 'main.early')
  await client.connect()
  const acked = client.publish('main', 'before the welcome', { messageType: 'early' }).waitForAck(DEADLINE_MS)
  assert.equal((await told)[0].data.payload, 'before the welcome')
  await acked
})

test('compressed messages are told as such; how they arrive is up to the WebSocket library', async () => {
  const app = await newApp()
  const payload = { text: 'again and again '.repeat(100) }
  // A present `ws` gives the Blobs that are asked for; one of 2023 gives Buffers, which the SDK does not know.
  const client = await open(app, 'blobs', [PUBLISH])
  let told = next(client, 'main.broadcast')
  client.publish('main', payload, { compress: true })
  const [message] = await told
  assert.deepEqual([message.data.payload, message.compression], [payload, true])
  client.disconnect()
  const old = await open(app, 'buffers', [PUBLISH], { WebSocket: WebSocketOf2023 })
  const failed = next(old, 'error')
  old.publish('main', payload, { compress: true })
  assert.equal((await failed)[0].message, 'Unable to deserialize incoming message')
  old.disconnect()
  const messageDeserializer = (data) => JSON.parse(data)
  for (const library of [WebSocket, WebSocketOf2023]) {
    const mended = await open(app, 'mended', [PUBLISH], { WebSocket: library, messageDeserializer })
    mended.ws.binaryType = 'nodebuffer'
    const seen = []
    mended.on('main.*', ({ data, compression }) => seen.push([data.payload, compression]))
    mended.publish('main', payload, { compress: true })
    told = next(mended, 'main.last')
    mended.publish('main', 'a text after it', { messageType: 'last' })
    await told
    assert.deepEqual(seen, [[payload, true], ['a text after it', false]])
    mended.disconnect()
  }
})

test('dots divide event names: in topics and subjects they need more wildcards', async () => {
  const app = await newApp()
  const client = await open(app, 'user0@example.com', [PUBLISH])
  await subscribe(client, 'a.b')
  const seen = []
  client.on('*.broadcast', ({ topic }) => seen.push(topic))
  client.on('**.broadcast', ({ topic }) => seen.push(topic))
  const told = next(client, 'a.b.broadcast')
  client.publish('a.b', 'x')
  await told
  assert.deepEqual(seen, ['a.b'])
  // So a response on the topic of a subject with a dot is not taken for one.
  let answered = false
  client.on('response.8', () => { answered = true })
  const topic = 'priv/user0@example.com'
  const unseen = next(client, `${topic}.response`)
  client.publish(topic, { data: 1, status: 'ok', id: '8' }, { messageType: 'response' })
  await unseen
  assert.equal(answered, false)
})

test('coming back to main starts the session once more', async () => {
  const app = await newApp()
  const client = await open(app, 'user0')
  const again = next(client, 'session.started')
  client.unsubscribeRemoteTopic('main').subscribeRemoteTopic('main')
  assert.equal((await again)[0].id, client.connection.id)
})
