'use strict'
// A page in headless Chromium, from an origin of its own. CHROMIUM names the browser.

const http = require('node:http')
const { chromium } = require('playwright-core')

const EXECUTABLE = process.env.CHROMIUM || '/usr/bin/chromium'

/** Serves `html` as a site would and starts a browser, to which Playwright gives a new user-data directory. */
async function openSite (html) {
  const site = http.createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(html)
  })
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
  const browser = await chromium.launch({
    executablePath: EXECUTABLE,
    headless: true,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  const close = async () => {
    await browser.close()
    await new Promise((resolve) => {
      site.close(resolve)
      site.closeAllConnections()
    })
  }
  return { origin: `http://127.0.0.1:${site.address().port}`, page: await browser.newPage(), close }
}

module.exports = { openSite }
