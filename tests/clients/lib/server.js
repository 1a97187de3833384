'use strict'
// Starts the real binary in a directory of its own, and makes applications as the documentation describes them.
// REALTIME_BIN names the binary; without it, that of a debug build.

const { execFileSync, spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const jwt = require('jsonwebtoken')

const BINARY = process.env.REALTIME_BIN ||
  path.join(process.env.CARGO_TARGET_DIR || path.join(__dirname, '../../../target'), 'debug/realtime')
const OPERATOR_TOKEN = 'operator-token-of-the-client-tests'
// With this variable every server speaks TLS; the clients must be told to trust ../tls/ca.pem.
const TLS = process.env.REALTIME_TEST_TLS !== undefined
const [HTTP, WS] = TLS ? ['https', 'wss'] : ['http', 'ws']
const CERTIFICATE = path.join(__dirname, '../tls')
const TLS_ARGUMENTS = ['--tls-cert', path.join(CERTIFICATE, 'chain.pem'), '--tls-key', path.join(CERTIFICATE, 'key.pem')]
// Far above what anything takes: reaching it means that it never happens.
const DEADLINE_MS = 15_000

/** Asks again and again until `attempt` gives a value. */
async function eventually (what, attempt) {
  const end = Date.now() + DEADLINE_MS
  for (;;) {
    const value = await attempt()
    if (value !== undefined) return value
    if (Date.now() > end) throw new Error(`${what}: not within ${DEADLINE_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A running `realtime serve`. */
class Server {
  /** With more arguments, if any. */
  static async start (...args) {
    const server = new Server()
    server.home = fs.mkdtempSync(path.join(os.tmpdir(), 'realtime-clients-'))
    const ready = path.join(server.home, 'ready.json')
    const log = fs.openSync(path.join(server.home, 'log'), 'a')
    server.child = spawn(BINARY, [
      'serve', '--listen', '127.0.0.1:0', '--grpc-listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0',
      '--data-dir', path.join(server.home, 'data'), '--ready-file', ready, ...(TLS ? TLS_ARGUMENTS : []), ...args
    ], { stdio: ['ignore', log, log], env: { ...process.env, REALTIME_OPERATOR_TOKEN: OPERATOR_TOKEN } })
    fs.closeSync(log)
    // Where a test program ends before its tests do.
    process.once('exit', () => server.child.kill('SIGKILL'))
    let failure
    server.child.once('error', (error) => { failure = error })
    server.addresses = await eventually('the ready file', () => {
      if (failure) throw failure
      if (server.child.exitCode !== null) {
        throw new Error(`the server ended:\n${fs.readFileSync(path.join(server.home, 'log'), 'utf8')}`)
      }
      try { return JSON.parse(fs.readFileSync(ready, 'utf8')) } catch { return undefined }
    })
    server.host = server.addresses.listen
    return server
  }

  async stop () {
    const ended = new Promise((resolve) => this.child.once('exit', resolve))
    // Unless it has ended by itself.
    if (this.child.exitCode === null && this.child.kill('SIGKILL')) await ended
    fs.rmSync(this.home, { recursive: true, force: true })
  }

  /** Asks the server to drain and end. */
  terminate () {
    this.child.kill('SIGTERM')
  }

  /** A call with the operator's token, which must succeed; returns the answer's body. */
  async operator (method, endpoint, body) {
    const response = await fetch(`${HTTP}://${this.host}/api${endpoint}`, {
      method,
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${OPERATOR_TOKEN}` },
      body: JSON.stringify(body)
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${endpoint}: ${response.status} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }

  /** Creates an application with an ES512 key, and what `change` says besides. */
  async createApp (name, change = {}) {
    const keys = generateKeys()
    const key = { source: 'raw', key: keys.publicKey, algorithms: ['ES512'], issuer: [] }
    // The documentation's example.
    const config = {
      enabled: true,
      name,
      description: 'This is an example application that uses ES512 JWT-based authentication',
      tier: 'free',
      createdAt: '2023-09-17T15:26:35.666Z',
      updatedAt: '2023-10-05T13:05:38.238Z',
      adminKey: key,
      adminSourceAddress: ['0.0.0.0/0'],
      clientSourceAddress: ['0.0.0.0/0'],
      authKey: key,
      enableWebSocketInboundTopic: true,
      amazonSnsForwarder: {},
      amazonSqsForwarder: {},
      ...change
    }
    const created = await this.operator('POST', '/apps', config)
    const app = new App(this, created.appId, keys.privateKey)
    await eventually('the app on the node', async () => {
      const answer = await fetch(`${HTTP}://${this.host}/apps/${app.id}`)
      return answer.status === 404 ? undefined : true
    })
    return app
  }
}

class App {
  constructor (server, id, privateKey) {
    Object.assign(this, { server, id, privateKey })
  }

  /** Signs a token as the documentation does. */
  token (subject, permissions = [], expiresIn = 60) {
    return jwt.sign({ permissions }, this.privateKey, {
      algorithm: 'ES512',
      expiresIn,
      issuer: 'https://signer.example.com',
      subject
    })
  }

  url (subject, permissions, query = '') {
    return this.urlWith(this.token(subject, permissions), query)
  }

  urlWith (token, query = '') {
    return `${WS}://${this.server.host}/apps/${this.id}?access_token=${token}${query}`
  }

  /** Closes a connection as the documentation's command does. */
  disconnect (connectionId) {
    const permissions = ['realtime:admin:manage:connections']
    return this.curl('DELETE', `/connections/${this.id}/${connectionId}`, { permissions })
  }

  /** Runs one of the documentation's curl commands; returns status and body. */
  curl (method, endpoint, { permissions, body } = {}) {
    const args = ['--silent', '--show-error', '--max-time', '10', '--write-out', '\n%{http_code}',
      '-X', method, '-H', 'Accept:application/json']
    if (body !== undefined) args.push('-H', 'Content-Type:application/json')
    if (permissions) args.push('-H', `Authorization:Bearer ${this.token('service-name', permissions)}`)
    if (body !== undefined) args.push('--data', body)
    args.push(`${HTTP}://${this.server.host}/api${endpoint}`)
    const output = execFileSync('curl', args, { encoding: 'utf8' })
    const cut = output.lastIndexOf('\n')
    const text = output.slice(0, cut)
    return { status: Number(output.slice(cut + 1)), body: text === '' ? undefined : JSON.parse(text) }
  }

  /** The documentation's publish command. */
  publish (topic, message, compress = false) {
    const body = JSON.stringify({ topic, message, compress })
    return this.curl('POST', `/topics/${this.id}/publish`, { permissions: ['realtime:publisher:write:topic:*'], body })
  }
}

/** A key pair made by `realtime keys generate`. */
function generateKeys () {
  const text = execFileSync(BINARY, ['keys', 'generate', '--alg', 'ES512'], { encoding: 'utf8' })
  const blocks = text.match(/-----BEGIN ([A-Z ]+)-----[^-]+-----END \1-----\n?/g) || []
  const privateKey = blocks.find((block) => block.includes('PRIVATE KEY'))
  const publicKey = blocks.find((block) => block.includes('PUBLIC KEY'))
  if (!privateKey || !publicKey) throw new Error('`realtime keys generate` printed no pair')
  return { privateKey, publicKey }
}

module.exports = { Server, eventually, BINARY, DEADLINE_MS, OPERATOR_TOKEN }
