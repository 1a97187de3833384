'use strict'
// The commands of README.md and docs/*.md, run in their order, each document against a server of its own.
//
// Markers, each an HTML comment on the line before a fenced block:
//   <!-- test -->         an `sh` block to run
//   <!-- output -->       what the block before printed; … stands for anything
//   <!-- file: NAME -->   a block to save under that name, for the commands after it
// and, without a block, <!-- run … -->: commands that a reader need not see.
// The documents' addresses are replaced by those of the server. `<!-- test python -->` is for the Python tests, which
// have Python's packages.

const assert = require('node:assert/strict')
const { spawn, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const { eventually } = require('../lib/server')
const { startMoto } = require('../lib/moto')

const ROOT = path.join(__dirname, '../../..')
const BINARY = path.resolve(process.env.REALTIME_BIN ||
  path.join(process.env.CARGO_TARGET_DIR || path.join(ROOT, 'target'), 'debug/realtime'))
const DOCUMENTS = ['README.md', 'docs/protocol.md', 'docs/http-api.md', 'docs/inbound.md', 'docs/inbound-stream.md', 'docs/configuration.md', 'docs/cli.md', 'docs/operate.md']
// Documents that need an AWS, and what they start the server with.
const WITH_AWS = { 'docs/inbound.md': ['--allow-insecure-endpoints'] }
// Far above what the commands of one document take together.
const TIMEOUT_MS = 120_000

const STEP = /<!-- (test python|test|output|file: (?<name>[\w.-]+)) -->\n(?<fence>`{3,})\w*\n(?<block>[^]*?)^\k<fence>$|<!-- run\n(?<hidden>[^]*?)-->/gm

/** The document's steps: what to do, and the text to do it with. */
function steps (document) {
  return Array.from(document.matchAll(STEP), ({ 1: marker, groups: { name, block, hidden } }) => {
    if (hidden !== undefined) return { kind: 'run', text: hidden }
    if (name !== undefined) return { kind: 'file', name, text: block }
    return { kind: marker, text: block }
  })
}

/** A script of the steps; each step's output begins with a line that no command prints, after a line end. */
function script (list) {
  const parts = list.map(({ kind, name, text }, i) => {
    switch (kind) {
      case 'test':
      case 'run': return `printf '\\n@@ step ${i}\\n'\n${text}`
      case 'file': return `cat > '${name}' <<'@@ end of file'\n${text}@@ end of file\n`
      default: return ''
    }
  })
  return ['set -euo pipefail', 'trap \'kill $(jobs -p) 2>/dev/null || true\' EXIT', ...parts].join('\n')
}

/** A server as the documents start it, in a directory of its own: data in `realtime-data`, its own operator token. */
async function startServer (t, args) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'realtime-documents-'))
  const log = fs.openSync(path.join(home, 'log'), 'a')
  const env = { ...process.env }
  delete env.REALTIME_OPERATOR_TOKEN
  const child = spawn(BINARY, [
    'serve', '--listen', '127.0.0.1:0', '--grpc-listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0',
    '--ready-file', 'ready.json', ...args
  ], { cwd: home, env, stdio: ['ignore', log, log] })
  fs.closeSync(log)
  const ended = new Promise((resolve) => { child.once('exit', resolve); child.once('error', resolve) })
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
    fs.rmSync(home, { recursive: true, force: true })
  })
  const addresses = await eventually('the ready file', () => {
    assert.equal(child.exitCode, null, fs.readFileSync(path.join(home, 'log'), 'utf8'))
    try { return JSON.parse(fs.readFileSync(path.join(home, 'ready.json'), 'utf8')) } catch { return undefined }
  })
  return { home, env, addresses }
}

/** Whether the output is the documented one; … stands for anything, and a table's columns may be wider. */
function assertOutput (actual, documented, where) {
  const narrow = (text) => text.trim().replace(/ {2,}/g, '  ')
  const literal = narrow(documented).split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  assert.match(narrow(actual), new RegExp(`^${literal.join('[^]*?')}$`), where)
}

for (const file of DOCUMENTS) {
  test(`the commands of ${file} work and print what it says`, async (t) => {
    const moto = WITH_AWS[file] && await startMoto(t)
    if (moto?.missing) return t.skip(moto.missing)
    const server = await startServer(t, WITH_AWS[file] ?? [])
    const local = (text) => text
      .replaceAll('127.0.0.1:5000', moto?.address ?? '127.0.0.1:5000')
      .replaceAll('127.0.0.1:8080', server.addresses.listen)
      .replaceAll('127.0.0.1:7070', server.addresses.grpcListen)
      .replaceAll('127.0.0.1:9090', server.addresses.adminListen)
    const list = steps(fs.readFileSync(path.join(ROOT, file), 'utf8').replaceAll('\r\n', '\n'))
    assert.ok(list.some(({ kind }) => kind === 'test'), 'no marked block')
    const env = {
      ...server.env,
      // With the examples of the Rust client, which `cargo test --workspace` builds.
      PATH: [path.dirname(BINARY), path.join(path.dirname(BINARY), 'examples'), moto && path.dirname(moto.python), process.env.PATH].filter(Boolean).join(':'),
      NODE_PATH: path.join(ROOT, 'tests/clients/node_modules'),
      // The commands' own defaults are the documents' addresses.
      REALTIME_SERVER: `http://${server.addresses.grpcListen}`,
      REALTIME_PUBLIC_SERVER: `ws://${server.addresses.listen}`
    }
    const errors = path.join(server.home, 'errors')
    const ran = spawnSync('bash', ['-c', local(script(list))], {
      cwd: server.home, env, encoding: 'utf8', timeout: TIMEOUT_MS, stdio: ['ignore', 'pipe', fs.openSync(errors, 'w')]
    })
    const said = () => `${ran.stdout}\n${fs.readFileSync(errors, 'utf8')}`
    assert.equal(ran.status, 0, `${ran.error ?? ran.signal ?? 'a command failed'}\n${said()}`)
    const outputs = new Map(Array.from(ran.stdout.matchAll(/^@@ step (\d+)\n([^]*?)(?=^@@ step|$(?![^]))/gm),
      ([, step, text]) => [Number(step), text]))
    let last
    list.forEach(({ kind, text }, i) => {
      if (kind === 'test') last = outputs.get(i)
      if (kind === 'test python') last = undefined
      if (kind === 'output' && last !== undefined) assertOutput(last, local(text), `after:\n${said()}`)
    })
  })
}
