'use strict'
// The samples of docs/operate.md for other programs: nginx takes its configuration and proxies HTTP and WebSocket;
// systemd finds nothing wrong with the unit.

const assert = require('node:assert/strict')
const { execFileSync, spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const https = require('node:https')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const WebSocket = require('ws')
const { Server, eventually, BINARY, OPERATOR_TOKEN } = require('../lib/server')
const { Session } = require('../lib/session')

const DOCUMENT = fs.readFileSync(path.join(__dirname, '../../../docs/operate.md'), 'utf8')

/** The only block of that language. */
function sample (language) {
  const blocks = Array.from(DOCUMENT.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm')), ([, block]) => block)
  assert.equal(blocks.length, 1, language)
  return blocks[0]
}

/** The same with each text replaced, which must be there. */
function replaced (text, changes) {
  return changes.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from)
    return text.replaceAll(from, to)
  }, text)
}

function found (program) {
  const directories = [...process.env.PATH.split(':'), '/usr/sbin', '/usr/local/sbin']
  return directories.map((directory) => path.join(directory, program)).find((file) => fs.existsSync(file))
}

/** Whether a test cannot run for want of a program; under CI that is a failure, as in tests/run. */
function misses (t, ...programs) {
  const missing = programs.filter((program) => !found(program))
  if (missing.length === 0) return false
  assert.ok(!process.env.CI, `not here: ${missing}`)
  t.skip(`not here: ${missing}`)
  return true
}

function temporary (t) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'realtime-operate-'))
  t.after(() => fs.rmSync(home, { recursive: true, force: true }))
  return home
}

async function freePort () {
  const server = net.createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** nginx with the sample between clients and the server; the port that it listens on. */
async function startNginx (t, program, upstream) {
  const home = temporary(t)
  const [certificate, key] = ['certificate.pem', 'key.pem'].map((name) => path.join(home, name))
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1',
    '-subj', '/CN=realtime.example.com', '-out', certificate, '-keyout', key], { stdio: 'ignore' })
  const port = await freePort()
  const site = replaced(sample('nginx'), [
    ['listen 443 ssl', `listen 127.0.0.1:${port} ssl`],
    ['127.0.0.1:8080', upstream],
    ['/etc/ssl/realtime.example.com.pem', certificate],
    ['/etc/ssl/realtime.example.com.key', key]
  ])
  const temporaries = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${home}/${name};`).join('\n')
  fs.writeFileSync(path.join(home, 'nginx.conf'),
    `pid ${home}/pid;\ndaemon off;\nmaster_process off;\nevents {}\nhttp {\n${temporaries}\n${site}}\n`)
  const args = ['-p', home, '-e', path.join(home, 'errors'), '-c', path.join(home, 'nginx.conf')]
  const checked = spawnSync(program, [...args, '-t'], { encoding: 'utf8' })
  assert.equal(checked.status, 0, checked.stderr)
  assert.doesNotMatch(checked.stderr, /warn/)
  const child = spawn(program, args, { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.after(async () => { child.kill('SIGKILL'); await ended })
  await eventually('nginx takes connections', () => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => { socket.destroy(); resolve(true) })
    socket.once('error', () => resolve(undefined))
  }))
  return { port, home }
}

function get (port, resource, headers = {}) {
  const options = { host: '127.0.0.1', port, path: resource, headers, rejectUnauthorized: false }
  return new Promise((resolve, reject) => {
    https.get(options, (response) => {
      let body = ''
      response.on('data', (data) => { body += data })
      response.on('end', () => resolve({ status: response.statusCode, body }))
    }).on('error', reject)
  })
}

async function setting (server, change) {
  const url = `http://${server.host}/api/settings`
  const headers = { Authorization: `Bearer ${OPERATOR_TOKEN}`, 'Content-Type': 'application/json' }
  const settings = await (await fetch(url, { headers })).json()
  const answer = await fetch(url, { method: 'PUT', headers, body: JSON.stringify({ ...settings, ...change }) })
  assert.equal(answer.status, 200, await answer.text())
}

test('nginx with the sample proxies the API and sessions, and tells who the client is', async (t) => {
  if (misses(t, 'nginx', 'openssl')) return
  const program = found('nginx')
  const server = await Server.start()
  t.after(() => server.stop())
  const app = await server.createApp('behind nginx')
  const { port, home } = await startNginx(t, program, server.host)
  await setting(server, { trustedProxies: ['127.0.0.1', '10.0.0.0/8'] })

  assert.equal((await get(port, '/api/health/status')).status, 200)
  const url = app.url('user0', []).replace(`ws://${server.host}`, `wss://127.0.0.1:${port}`)
  const session = new Session()
  const ws = new WebSocket(url, {
    rejectUnauthorized: false,
    // What a client of an outer proxy would have sent, and one that lies about its address.
    headers: { 'X-Forwarded-For': '203.0.113.7, 10.1.2.3', Forwarded: 'for=192.0.2.1' }
  })
  t.after(() => ws.terminate())
  ws.onmessage = (event) => session.received(JSON.parse(event.data))
  session.send = async (text) => ws.send(text)
  const welcome = await session.expect('main', 'welcome')
  assert.equal(welcome.data.connection.remoteAddress, '203.0.113.7')
  await session.subscribe('news')
  app.publish('news', 'hello', true)
  assert.equal((await session.expect('news', 'broadcast')).data, 'hello')
  // A refusal comes through as it is, and tokens are in no file of nginx.
  const refused = await get(port, `/apps/${app.id}`, {
    Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg=='
  })
  assert.deepEqual([refused.status, JSON.parse(refused.body).code], [401, 'unauthenticated'])
  for (const name of fs.readdirSync(home).filter((name) => fs.statSync(path.join(home, name)).isFile())) {
    assert.ok(!fs.readFileSync(path.join(home, name), 'utf8').includes('access_token'), name)
  }
})

test('systemd finds nothing wrong with the unit', (t) => {
  if (misses(t, 'systemd-analyze')) return
  const program = found('systemd-analyze')
  const file = path.join(temporary(t), 'realtime.service')
  fs.writeFileSync(file, replaced(sample('ini'), [['/usr/local/bin/realtime', path.resolve(BINARY)]]))
  const checked = spawnSync(program, ['verify', '--man=no', file], { encoding: 'utf8' })
  assert.deepEqual([checked.status, checked.stderr, checked.stdout], [0, '', ''])
})
