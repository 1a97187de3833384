'use strict'
// A page in headless Chromium with the browser's own WebSocket.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { after, test } = require('node:test')
const { openSite } = require('../lib/chromium')
const { clientScenarios } = require('../lib/scenarios')
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
  session.close = () => page.evaluate((key) => window.closeSession(key), key)
  await page.evaluate(([key, url]) => window.openSession(key, url), [key, url])
  return session
}

after(async () => { for (const close of cleanup) await close() })

clientScenarios('a page in Chromium', connect, { tellsCompression: true })

test('a page reads the refusal of its session as a close code', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('refusals')
  const refused = await connect(`ws://${server.host}/apps/${app.id}?access_token=x&refusals=close`)
  assert.equal((await refused.closed).code, 4401)
})

test('a page publishes over HTTP from its own origin', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const page = await openPage()
  const app = await server.createApp('fetch', { allowedOrigins: [origin] })
  const session = await connect(app.url('user0', []))
  await session.expect('main', 'welcome')
  const token = app.token('service-name', ['realtime:publisher:write:topic:*'])
  const status = await page.evaluate(async ([url, token]) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ topic: 'main', message: 'from a page' })
    })
    return response.status
  }, [`http://${server.host}/api/topics/${app.id}/publish`, token])
  assert.equal(status, 200)
  assert.equal((await session.expect('main', 'broadcast')).data, 'from a page')
  const closed = await server.createApp('closed', { allowedOrigins: ['https://elsewhere.example'] })
  const refused = await connect(closed.url('user0', [], '&refusals=close'))
  assert.equal((await refused.closed).code, 4403)
})
