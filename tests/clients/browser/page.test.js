'use strict'
// A page in headless Chromium with the browser's own WebSocket.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, test } = require('node:test')
const WebSocket = require('ws')
const { openSite } = require('../lib/chromium')
const { relay } = require('../lib/relay')
const { assertCompressed, clientScenarios, PUBLISH } = require('../lib/scenarios')
const { Server } = require('../lib/server')
const { Session } = require('../lib/session')

const PAGE = fs.readFileSync(path.join(__dirname, 'page.html'))

const sessions = new Map()
const cleanup = []
let page
let origin

/** Opens the page once. */
async function openPage () {
  if (page) return page
  const site = await openSite(PAGE)
  cleanup.push(site.close);
  ({ origin, page } = site)
  await page.exposeFunction('sessionReceived', (key, frame) => sessions.get(key).received(frame))
  await page.exposeFunction('sessionClosed', (key, close) => sessions.get(key).end(close))
  await page.goto(origin)
  return page
}

async function connect (url) {
  const page = await openPage()
  const session = new Session()
  const key = `session ${sessions.size}`
  sessions.set(key, session)
  session.closed = new Promise((resolve) => { session.end = resolve })
  session.send = (text) => page.evaluate(([key, text]) => window.sendText(key, text), [key, text])
  session.sendBinary = (bytes) => page.evaluate(([key, bytes]) => window.sendBytes(key, bytes), [key, [...bytes]])
  session.extensions = () => page.evaluate((key) => window.extensions(key), key)
  session.close = () => page.evaluate((key) => window.closeSession(key), key)
  await page.evaluate(([key, url]) => window.openSession(key, url), [key, url])
  return session
}

after(async () => { for (const close of cleanup) await close() })

clientScenarios('a page in Chromium', connect, { tellsCompression: true })

test('a page negotiates permessage-deflate, and its frames are compressed in both directions', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('deflate')
  const { host, counted } = await relay(t, server.host)
  const session = await connect(app.url('user0', [PUBLISH]).replace(server.host, host))
  await session.expect('main', 'welcome')
  assert.equal(await session.extensions(), 'permessage-deflate; server_no_context_takeover; client_no_context_takeover')
  await assertCompressed(session, counted)
  await session.close()
})

/** Publishes over HTTP from the page; the status, or what the browser says of a request that it forbade. */
function publishFromPage (app, message) {
  const token = app.token('service-name', [PUBLISH])
  return page.evaluate(async ([url, token, message]) => {
    const body = JSON.stringify({ topic: 'main', message })
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` }
    try {
      return (await fetch(url, { method: 'POST', headers, body })).status
    } catch (error) {
      return error.name
    }
  }, [`http://${app.server.host}/api/topics/${app.id}/publish`, token, message])
}

test('allowedOrigins let a page in, over WebSocket and HTTP, and keep it out', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  await openPage()
  // Any origin may where none is listed.
  for (const allowedOrigins of [[], [origin], ['https://elsewhere.example', origin]]) {
    const app = await server.createApp(`open to ${allowedOrigins.length}`, { allowedOrigins })
    const session = await connect(app.url('user0', []))
    await session.expect('main', 'welcome')
    assert.equal(await publishFromPage(app, 'from a page'), 200)
    assert.equal((await session.expect('main', 'broadcast')).data, 'from a page')
  }
  const closed = await server.createApp('closed', { allowedOrigins: ['https://elsewhere.example'] })
  // A client that is no page sends no origin, and sees that nothing was published.
  const observer = new WebSocket(closed.url('observer', []))
  const session = new Session()
  observer.onmessage = ({ data }) => session.received(JSON.parse(data))
  session.send = async (text) => observer.send(text)
  await session.expect('main', 'welcome')
  const url = closed.url('user0', [])
  assert.equal((await (await connect(url)).closed).code, 1006)
  assert.deepEqual(await (await connect(`${url}&refusals=close`)).closed, { code: 4403, reason: 'origin_forbidden' })
  assert.equal(await publishFromPage(closed, 'from a page'), 'TypeError')
  await session.expectNothing()
  observer.close()
})

test('a page reads what the HTTP API says, refusals included', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  await openPage()
  const app = await server.createApp('api', { allowedOrigins: [origin] })
  const answers = await page.evaluate(async ([url, token]) => {
    const call = async (path, method, headers) => {
      const response = await fetch(`${url}${path}`, { method, headers })
      return [response.status, (await response.text())]
    }
    const headers = { Authorization: `Bearer ${token}`, 'X-App-Id': url.split('/').at(-1) }
    return [await call('', 'GET', {}), await call('?subject=user0', 'GET', headers), await call('', 'DELETE', headers)]
  }, [`http://${server.host}/api/connections/${app.id}`, app.token('admin', ['realtime:admin:manage:connections'])])
  assert.deepEqual(answers.map(([status]) => status), [401, 200, 200])
  assert.equal(JSON.parse(answers[0][1]).code, 'unauthenticated')
  assert.deepEqual(JSON.parse(answers[1][1]).items, [])
})
