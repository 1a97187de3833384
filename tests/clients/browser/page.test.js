'use strict'
// A page in headless Chromium with the browser's own WebSocket. CHROMIUM names the browser.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { after, test } = require('node:test')
const { chromium } = require('playwright-core')
const { clientScenarios } = require('../lib/scenarios')
const { Server } = require('../lib/server')
const { Session } = require('../lib/session')

const PAGE = fs.readFileSync(path.join(__dirname, 'page.html'))
const EXECUTABLE = process.env.CHROMIUM || '/usr/bin/chromium'

const sessions = new Map()
const cleanup = []
let page
let origin

/** Serves the page on an origin of its own, as a site would, and opens it once. Playwright gives the browser a new user-data directory. */
async function openPage () {
  if (page) return page
  const site = http.createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(PAGE)
  })
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
  const browser = await chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  cleanup.push(() => browser.close(), () => new Promise((resolve) => {
    site.close(resolve)
    site.closeAllConnections()
  }))
  page = await browser.newPage()
  await page.exposeFunction('sessionReceived', (key, frame) => sessions.get(key).received(frame))
  await page.exposeFunction('sessionClosed', (key, close) => sessions.get(key).end(close))
  origin = `http://127.0.0.1:${site.address().port}`
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
