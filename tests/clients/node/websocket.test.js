'use strict'
// The npm package `websocket`, as the documentation's subscriber demo uses it.

const { w3cwebsocket: WebSocket } = require('websocket')
const { clientScenarios } = require('../lib/scenarios')
const { Session } = require('../lib/session')

clientScenarios('websocket', async (url) => {
  const session = new Session()
  const ws = new WebSocket(url)
  ws.onmessage = (event) => {
    // Parse incoming WebSocket messages
    const { topic, messageType, data } = event.data instanceof ArrayBuffer
      ? JSON.parse(new TextDecoder().decode(event.data)) // compression is enabled
      : JSON.parse(event.data)
    session.received({ topic, messageType, data, compression: event.data instanceof ArrayBuffer })
  }
  session.closed = new Promise((resolve) => {
    ws.onclose = (event) => resolve({ code: event.code, reason: event.reason })
  })
  session.send = async (text) => ws.send(text)
  session.close = async () => ws.close()
  return session
}, { tellsCompression: true })
