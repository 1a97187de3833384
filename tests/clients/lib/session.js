'use strict'
// A client's session as a test reads it: frames in order, each awaited with a deadline.

const assert = require('node:assert/strict')
const { DEADLINE_MS } = require('./server')

class Session {
  constructor () {
    this.frames = []
    this.waiting = undefined
  }

  /** Called by the library's handler. */
  received (frame) {
    this.frames.push(frame)
    this.waiting?.()
  }

  /** The next frame. */
  async next () {
    if (this.frames.length === 0) {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no frame within ${DEADLINE_MS} ms`)), DEADLINE_MS)
        this.waiting = () => { clearTimeout(timer); this.waiting = undefined; resolve() }
      })
    }
    return this.frames.shift()
  }

  /** The next frame, which must be of this topic and type. */
  async expect (topic, messageType) {
    const frame = await this.next()
    assert.deepEqual([frame.topic, frame.messageType], [topic, messageType], JSON.stringify(frame))
    return frame
  }

  /** Subscribes, and checks that the welcome is the very next frame. */
  async subscribe (topic) {
    await this.send(JSON.stringify({ type: 'subscribe', data: { topic } }))
    return this.expect(topic, 'welcome')
  }

  /** Nothing is on its way: the answer to a new subscription is the next frame. */
  async expectNothing () {
    this.fences = (this.fences || 0) + 1
    await this.subscribe(`fence/${this.fences}`)
  }
}

module.exports = { Session }
