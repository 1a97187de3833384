'use strict'
// deploy/compose without Docker: the file is read as Compose reads it, its certificates are made by its own script,
// and each process is given its environment with one mistake more, which must be the only thing that it finds wrong.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const YAML = require('yaml')
const { BINARY } = require('../lib/server')

const DIRECTORY = path.join(__dirname, '../../../deploy/compose')
const ROLES = ['control-plane', 'data-plane', 'gateway']
const VARIABLES = {
  REALTIME_OPERATOR_TOKEN: 'operator-token-of-the-compose-test',
  REALTIME_SECRETS_KEY_TEXT: Buffer.alloc(32, 1).toString('base64')
}

/** The file with its merges done and its variables replaced. */
function compose () {
  const text = fs.readFileSync(path.join(DIRECTORY, 'compose.yaml'), 'utf8')
  return YAML.parse(text.replace(/\$\{(\w+):\?[^}]*\}/g, (_, name) => {
    assert.ok(name in VARIABLES, name)
    return VARIABLES[name]
  }), { merge: true })
}

/** The services that run a role, as [name, service]. */
function processes ({ services }) {
  return Object.entries(services).filter(([, { command }]) => ROLES.includes(command?.[0]))
}

/** Environment and PATH of this process, without what it has for other servers. */
function environment (more) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('REALTIME_'))
  return { ...Object.fromEntries(own), PATH: `${path.dirname(BINARY)}:${process.env.PATH}`, ...more }
}

/** A volume's name and where it is mounted, of `volume:/place[:ro]`. */
function mounts ({ volumes = [] }) {
  return volumes.map((volume) => volume.split(':')).map(([name, place, mode]) => ({ name, place, mode }))
}

/** Runs the script of the service `certs`, with directories for its volumes; where they are. */
function makeCertificates (t, { services }) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'realtime-compose-'))
  t.after(() => fs.rmSync(home, { recursive: true }))
  const { certs } = services
  for (const { place } of mounts(certs).filter(({ place }) => place !== '/certs.sh')) {
    fs.mkdirSync(path.join(home, place), { recursive: true })
  }
  const env = { CA_DIR: path.join(home, certs.environment.CA_DIR), CERTS_DIR: path.join(home, certs.environment.CERTS_DIR) }
  // Twice, as when Compose starts everything again.
  for (let time = 0; time < 2; time++) {
    const made = spawnSync('/bin/sh', [path.join(DIRECTORY, 'certs.sh')], {
      env: environment({ ...env, OWNER: String(process.getuid()) }), encoding: 'utf8'
    })
    assert.equal(made.status, 0, made.stderr)
  }
  return home
}

/** What a process finds wrong with its environment, with the paths of the certificates as they are here. */
function problems (home, name, command, env) {
  const here = Object.entries(env).map(([variable, value]) => [variable, value.replace(/^\/certs\//, `${home}/certs/${name}/`)])
  const ran = spawnSync(BINARY, [...command, '--admin-listen', 'nowhere'], {
    env: environment(Object.fromEntries(here)), encoding: 'utf8', timeout: 10_000
  })
  assert.equal(ran.status, 2, ran.stderr)
  return ran.stderr.trimEnd().split('\n')
}

test('every process finds nothing wrong with its environment and its certificates', (t) => {
  const file = compose()
  const home = makeCertificates(t, file)
  const found = processes(file)
  assert.deepEqual(found.map(([, { command }]) => command[0]).sort(),
    ['control-plane', 'control-plane', 'data-plane', 'data-plane', 'data-plane', 'gateway'])
  for (const [name, { command, environment: env }] of found) {
    const [problem, ...more] = problems(home, name, command, env)
    assert.match(problem, /--admin-listen/, name)
    assert.deepEqual(more, [], name)
  }
  // It would be found: a certificate that is not for the name by which the others call.
  const [name, { command, environment: env }] = found.find(([name]) => name === 'node-1')
  const wrong = problems(home, name, command, { ...env, REALTIME_PEER_ADVERTISE: 'node-2' })
  assert.ok(wrong.some((line) => line.includes('--peer-advertise') && line.includes('not for node-2')), wrong.join('\n'))
})

test('every variable is one of the command that gets it', () => {
  const file = compose()
  const { cli } = file.services
  const commands = [...processes(file).map(([, service]) => [service.command, service]),
    [['apps', 'list'], { environment: { ...cli.environment, REALTIME_PUBLIC_SERVER: undefined } }]]
  for (const [command, { environment: env }] of commands) {
    const help = spawnSync(BINARY, [...command, '--help'], { encoding: 'utf8' }).stdout
    for (const [variable, value] of Object.entries(env)) {
      if (value === undefined) continue
      assert.ok(help.includes(variable), `${command}: ${variable}`)
    }
  }
})

test('each process has its own certificate alone, and the key of the CA is with none', (t) => {
  const file = compose()
  const home = makeCertificates(t, file)
  const given = mounts(file.services.certs).filter(({ place }) => place.startsWith('/certs/'))
  for (const [name, service] of [...processes(file), ['etcd', file.services.etcd]]) {
    const volume = given.find(({ place }) => place === `/certs/${name}`)
    const mounted = mounts(service).filter(({ place }) => place === '/certs')
    assert.deepEqual(mounted, [{ name: volume.name, place: '/certs', mode: 'ro' }], name)
    const files = fs.readdirSync(path.join(home, 'certs', name)).sort()
    assert.deepEqual(files, ['ca.pem', 'cert.pem', 'key.pem'], name)
    assert.equal(fs.statSync(path.join(home, 'certs', name, 'key.pem')).mode & 0o777, 0o600, name)
  }
  const withAuthority = Object.entries(file.services).filter(([, service]) => mounts(service).some(({ name }) => name === 'ca'))
  assert.deepEqual(withAuthority.map(([name]) => name), ['certs'])
})

test('nothing is published beyond this machine, and every volume and dependency is there', () => {
  const { services, volumes } = compose()
  for (const [name, service] of Object.entries(services)) {
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/, name)
    for (const dependency of Object.keys(service.depends_on ?? {})) assert.ok(dependency in services, `${name}: ${dependency}`)
    for (const { name: volume } of mounts(service)) assert.ok(volume in volumes || volume === './certs.sh', `${name}: ${volume}`)
  }
})
