'use strict'
// The pages of README.md and docs/protocol.md, as they stand there but for address and token, in headless Chromium.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { openSite } = require('../lib/chromium')
const { DEADLINE_MS, Server } = require('../lib/server')

const ROOT = path.join(__dirname, '../../..')
const TOKEN_PLACE = "'…'"

/** The document's one HTML page. */
function pageOf (document, host) {
  const text = fs.readFileSync(path.join(ROOT, document), 'utf8')
  const pages = Array.from(text.matchAll(/^```html\n([^]*?)^```$/gm), ([, page]) => page)
  assert.equal(pages.length, 1, `pages in ${document}`)
  assert.ok(pages[0].includes('127.0.0.1:8080/apps/chat'))
  return `<!doctype html><meta charset="utf-8"><body>${pages[0].replaceAll('127.0.0.1:8080', host)}`
}

/** Opens the page in a browser, from an origin of its own. */
async function open (t, html, fragment = '') {
  const { origin, page, close } = await openSite(html)
  t.after(close)
  page.on('pageerror', (error) => assert.fail(error))
  return { page, show: () => page.goto(`${origin}/${fragment}`) }
}

/** Publishes until the page shows it: it subscribes in its own time, and nothing is kept for it. */
async function publishUntil (app, topic, message, compress, shown) {
  const end = Date.now() + DEADLINE_MS
  while (!await shown()) {
    assert.ok(Date.now() < end, `${message} was not shown within ${DEADLINE_MS} ms`)
    assert.equal(app.publish(topic, message, compress).status, 200)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('the page of docs/protocol.md shows messages, compressed or not, and why it was closed', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('chat', { appId: 'chat' })
  const token = app.token('user0@example.com')
  const { page, show } = await open(t, pageOf('docs/protocol.md', server.host), `#access_token=${token}`)
  await show()
  for (const compress of [false, true]) {
    const message = `compressed: ${compress}`
    const shown = async () => (await page.textContent('body')).includes(`news: "${message}"`)
    await publishUntil(app, 'news', message, compress, shown)
  }
  app.curl('DELETE', `/connections/${app.id}`, { permissions: ['realtime:admin:manage:connections'] })
  await page.waitForFunction(() => document.body.textContent.includes('closed: 4003 Closed by an administrator'),
    undefined, { timeout: DEADLINE_MS })
})

test('the page of README.md logs what is published on main', async (t) => {
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('chat', { appId: 'chat' })
  const html = pageOf('README.md', server.host)
  assert.ok(html.includes(TOKEN_PLACE))
  const { page, show } = await open(t, html.replace(TOKEN_PLACE, `'${app.token('user0@example.com')}'`))
  const logged = []
  page.on('console', (message) => logged.push(message.text()))
  await show()
  for (const topic of ['main', 'topic1']) {
    await publishUntil(app, topic, 'hello', topic === 'main', async () => logged.includes(`${topic} hello`))
  }
})
