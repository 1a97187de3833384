'use strict'
// moto's server, an HTTP endpoint of SNS and SQS, of the Python packages of ../requirements.txt.
// REALTIME_TEST_PYTHON names the Python that has them; without it, that of `tests/run`.

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { eventually } = require('./server')

const PYTHON = process.env.REALTIME_TEST_PYTHON ||
  path.join(process.env.CARGO_TARGET_DIR || path.join(__dirname, '../../../target'), 'test-venv/bin/python')

/** Starts one for a test, and returns its `address`, and the `python` that has boto3, too; or what is `missing`. */
async function startMoto (t) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'realtime-moto-'))
  const file = path.join(home, 'log')
  const log = fs.openSync(file, 'a')
  const child = spawn(PYTHON, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'], { stdio: ['ignore', log, log] })
  fs.closeSync(log)
  let failure
  const ended = new Promise((resolve) => {
    child.once('exit', resolve)
    child.once('error', (error) => { failure = error; resolve() })
  })
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
    fs.rmSync(home, { recursive: true, force: true })
  })
  return eventually('moto', () => {
    const text = fs.readFileSync(file, 'utf8')
    if (failure || child.exitCode !== null) return { missing: `moto does not start: ${failure ?? text}` }
    const address = text.match(/Running on http:\/\/(\S+)/)?.[1]
    return address && { address, python: PYTHON }
  })
}

module.exports = { startMoto }
