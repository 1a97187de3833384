'use strict'
// The HTTP API over HTTP/2, and what a WebSocket finds there, with Node's own client.

const assert = require('node:assert/strict')
const http2 = require('node:http2')
const { after, before, test } = require('node:test')
const tls = require('node:tls')
const WebSocket = require('ws')
const { PUBLISH } = require('../lib/scenarios')
const { Server } = require('../lib/server')

let server, app
before(async () => {
  server = await Server.start()
  app = await server.createApp('http2')
})
after(() => server.stop())

/** One request over a connection; its status, headers and JSON body. */
function ask (connection, headers, body) {
  return new Promise((resolve, reject) => {
    const stream = connection.request(headers)
    let answer
    let text = ''
    stream.on('response', (headers) => { answer = headers })
    stream.on('data', (chunk) => { text += chunk })
    stream.on('end', () => resolve({ status: answer[':status'], headers: answer, body: text && JSON.parse(text) }))
    stream.on('error', reject)
    stream.end(body)
  })
}

test('a service publishes many messages over one connection, and a session over WebSocket gets them', async () => {
  const ws = new WebSocket(app.url('reader'))
  const messages = []
  const all = new Promise((resolve, reject) => {
    ws.on('error', reject)
    ws.on('message', (text) => {
      const { messageType, data } = JSON.parse(text)
      if (messageType === 'broadcast' && messages.push(data) === 100) resolve()
    })
  })
  await new Promise((resolve) => ws.once('message', resolve))
  const connection = http2.connect(`https://${server.host}`)
  assert.equal(await new Promise((resolve) => connection.once('connect', () => resolve(connection.alpnProtocol))), 'h2')
  const headers = {
    ':method': 'POST',
    ':path': `/api/topics/${app.id}/publish`,
    authorization: `Bearer ${app.token('service', [PUBLISH])}`,
    'content-type': 'application/json'
  }
  const answers = Array.from({ length: 100 }, (_, n) =>
    ask(connection, headers, JSON.stringify({ topic: 'main', message: n })))
  for (const { status, body } of await Promise.all(answers)) {
    assert.equal(status, 200)
    assert.equal(typeof body.id, 'string')
  }
  await all
  assert.deepEqual(messages.sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n))
  const refused = await ask(connection, { ':path': `/apps/${app.id}?access_token=${app.token('x')}` })
  assert.equal(refused.status, 426)
  assert.match(refused.body.detail, /HTTP\/1\.1/)
  connection.close()
  ws.close()
})

test('the client chooses the protocol, and without a choice it is HTTP/1.1', async () => {
  for (const [offered, chosen] of [[['h2', 'http/1.1'], 'h2'], [['http/1.1'], 'http/1.1'], [undefined, false]]) {
    const [host, port] = server.host.split(':')
    const socket = tls.connect({ host, port, ALPNProtocols: offered })
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
    assert.equal(socket.alpnProtocol, chosen)
    socket.destroy()
  }
})

test('curl speaks HTTP/2 with the API', async () => {
  const { execFileSync } = require('node:child_process')
  const written = execFileSync('curl', ['--silent', '--fail', '--http2', '--cacert', process.env.NODE_EXTRA_CA_CERTS,
    '--write-out', ' %{http_version}', `https://${server.host}/api/health/status`], { encoding: 'utf8' })
  assert.match(written, /"status":"ok".* 2$/)
})
