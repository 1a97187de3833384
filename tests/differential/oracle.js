// Answers what Node's libraries say: `matcher`, `jsonwebtoken`, `ws`, zlib and OpenSSL.
// One JSON text a line each way: {"op":NAME,…} in, {"ok":…} or {"error":TEXT} out. The end of the input ends it.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const zlib = require('node:zlib');
const { createRequire } = require('node:module');
const { pathToFileURL } = require('node:url');

const clients = createRequire(path.join(__dirname, '../clients/package.json'));
const jwt = clients('jsonwebtoken');
const { PerMessageDeflate, Receiver, Sender } = clients('ws');
// An ES module: imported when it is first needed.
const matcher = import(pathToFileURL(clients.resolve('matcher')));

// Not every package exports its description.
const version = (name) => JSON.parse(fs.readFileSync(path.join(__dirname, '../clients/node_modules', name, 'package.json'))).version;
const bytes = (text) => Buffer.from(text, 'base64');
const text = (buffer) => Buffer.from(buffer).toString('base64');

// Every character whose case changes as a single one, with what it changes to.
function casePairs() {
  const pairs = [];
  for (let c = 0; c <= 0x10ffff; c++) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const character = String.fromCodePoint(c);
    for (const other of [character.toUpperCase(), character.toLowerCase()]) {
      if (other !== character) pairs.push([character, other]);
    }
  }
  return pairs;
}

// With `verdict` the claims stay here: one may be what JSON for others has no word for.
function verify({ token, key, algorithms, issuer, audience, now, verdict }) {
  const options = { algorithms, clockTimestamp: now, clockTolerance: 5 };
  if (issuer) options.issuer = issuer;
  if (audience) options.audience = audience;
  try {
    const claims = jwt.verify(token, key, options);
    return { claims: verdict ? true : claims };
  } catch (error) {
    return { refused: String(error.message) };
  }
}

// OpenSSL's verdict on the bare signature, as JWS encodes it.
function verifyRaw({ algorithm, key, message, signature }) {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`;
  const options = { key };
  if (algorithm.startsWith('PS')) {
    options.padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
    options.saltLength = crypto.constants.RSA_PSS_SALTLEN_DIGEST;
  }
  if (algorithm.startsWith('ES')) options.dsaEncoding = 'ieee-p1363';
  try {
    return crypto.verify(hash, bytes(message), options, bytes(signature));
  } catch {
    return false;
  }
}

function readKey(pem) {
  try {
    // Asking for more than the type would abort Node for some of the malformed keys.
    return { type: crypto.createPublicKey(pem).asymmetricKeyType };
  } catch (error) {
    return { refused: String(error.message) };
  }
}

function newKey({ kind, options = {}, form = 'spki' }) {
  const { publicKey, privateKey } = crypto.generateKeyPairSync(kind, options);
  return {
    public: publicKey.export({ type: form, format: 'pem' }),
    private: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}

const strategies = ['Z_DEFAULT_STRATEGY', 'Z_FILTERED', 'Z_HUFFMAN_ONLY', 'Z_RLE', 'Z_FIXED'];

// A message's compressed payload: `cuts` are where it is flushed in between, as a fragmenting sender does.
function deflate({ message, level, strategy, windowBits, memLevel, cuts = [], final = false }) {
  const input = bytes(message);
  const stream = zlib.createDeflateRaw({ level, strategy: zlib.constants[strategies[strategy]], windowBits, memLevel });
  const handle = [];
  stream.on('data', (chunk) => handle.push(chunk));
  return new Promise((resolve, reject) => {
    stream.on('error', reject);
    const edges = [...cuts, input.length];
    let from = 0;
    const next = () => {
      if (edges.length === 0) {
        if (!final) return resolve(text(Buffer.concat(handle).subarray(0, -4)));
        stream.on('end', () => resolve(text(Buffer.concat(handle))));
        return stream.end();
      }
      const to = edges.shift();
      stream.write(input.subarray(from, to));
      from = to;
      stream.flush(zlib.constants.Z_SYNC_FLUSH, next);
    };
    next();
  });
}

// A `ws` client that negotiated the server's answer.
function receiver(maxPayload) {
  const extension = new PerMessageDeflate({ isServer: false, maxPayload });
  extension.accept([{ server_no_context_takeover: [true], client_no_context_takeover: [true] }]);
  return new Receiver({ isServer: false, maxPayload, extensions: { 'permessage-deflate': extension } });
}

// What `ws` makes of a message's compressed payload.
function inflate(payload, limit) {
  const stream = receiver(limit);
  return new Promise((resolve) => {
    stream.on('message', (data) => resolve({ message: text(data) }));
    stream.on('error', (error) => resolve({ refused: error.code }));
    for (const part of Sender.frame(bytes(payload), { fin: true, rsv1: true, opcode: 2, mask: false })) stream.write(part);
  });
}

// What it makes of the server's bytes, read in pieces of `read`.
function receive({ stream, read }) {
  const reader = receiver(0);
  const messages = [];
  return new Promise((resolve, reject) => {
    reader.on('message', (data, binary) => messages.push({ data: text(data), binary }));
    reader.on('error', reject);
    reader.on('finish', () => resolve(messages));
    const input = bytes(stream);
    for (let at = 0; at < input.length; at += read) reader.write(input.subarray(at, at + read));
    reader.end();
  });
}

// The bytes that a `ws` client sends for these messages; each is cut into fragments at `cuts`.
function send({ messages, level }) {
  const extension = new PerMessageDeflate({ isServer: false, zlibDeflateOptions: { level }, threshold: 0 });
  extension.accept([{ server_no_context_takeover: [true], client_no_context_takeover: [true] }]);
  const chunks = [];
  const socket = { cork() {}, uncork() {}, write(chunk, callback) { chunks.push(Buffer.from(chunk)); if (callback) callback(); return true; } };
  const sender = new Sender(socket, { 'permessage-deflate': extension });
  const sent = [];
  for (const { data, cuts = [], binary = false, compress = true } of messages) {
    const input = bytes(data);
    const edges = [...cuts, input.length];
    let from = 0;
    edges.forEach((to, index) => {
      const fin = index + 1 === edges.length;
      sent.push(new Promise((done) => sender.send(input.subarray(from, to), { fin, binary, compress, mask: true }, done)));
      from = to;
    });
  }
  return Promise.all(sent).then(() => text(Buffer.concat(chunks)));
}

const operations = {
  versions: async () => {
    await matcher;
    return {
      node: process.version, unicode: process.versions.unicode, openssl: process.versions.openssl, zlib: process.versions.zlib,
      matcher: version('matcher'), jsonwebtoken: version('jsonwebtoken'), ws: version('ws'),
    };
  },
  case_pairs: casePairs,
  match: async ({ cases }) => {
    const { isMatch } = await matcher;
    return cases.map(([patterns, topic]) => [isMatch(topic, patterns), isMatch(topic, patterns, { caseSensitive: true })]);
  },
  new_key: newKey,
  sign: ({ algorithm, key, claims, header }) => jwt.sign(claims, key, { algorithm, header, noTimestamp: !('iat' in claims) }),
  verify: ({ cases }) => cases.map(verify),
  verify_raw: ({ cases }) => cases.map(verifyRaw),
  read_keys: ({ pems }) => pems.map(readKey),
  deflate: ({ cases }) => Promise.all(cases.map(deflate)),
  inflate: ({ payloads, limit }) => Promise.all(payloads.map((payload) => inflate(payload, limit))),
  receive,
  send,
};

async function answer(line) {
  try {
    const question = JSON.parse(line);
    return { ok: await operations[question.op](question) };
  } catch (error) {
    return { error: String(error.stack) };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
  }
})();
