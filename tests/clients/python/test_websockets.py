"""The documentation's clients with Python's `websockets`, against a running server."""

import asyncio
import json
import unittest

from server import DEADLINE, INBOUND, PUBLISH, App, Server
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


class Session:
    """A session of the library, read frame by frame."""

    def __init__(self, ws):
        self.ws = ws
        self.id = None

    async def next(self):
        message = await asyncio.wait_for(self.ws.recv(), DEADLINE)
        return isinstance(message, bytes), json.loads(message)

    async def expect(self, topic, message_type):
        binary, frame = await self.next()
        assert (frame["topic"], frame["messageType"]) == (topic, message_type), frame
        return binary, frame["data"]

    async def send(self, kind, **data):
        await self.ws.send(json.dumps({"type": kind, "data": data}))

    async def subscribe(self, topic):
        await self.send("subscribe", topic=topic)
        await self.expect(topic, "welcome")


class Relay:
    """A TCP relay that counts what passes, as only the wire shows whether a message was compressed."""

    @classmethod
    async def start(cls, host):
        relay = cls()
        relay.upstream, relay.counted, relay.tasks = host.split(":"), {"sent": 0, "received": 0}, set()
        relay.server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
        relay.host = "%s:%d" % relay.server.sockets[0].getsockname()
        return relay

    async def stop(self):
        self.server.close()
        await asyncio.gather(*self.tasks)

    async def accept(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection(*self.upstream)
        for direction, source, sink in (("sent", reader, up_writer), ("received", up_reader, writer)):
            self.tasks.add(asyncio.create_task(self.pump(direction, source, sink)))

    async def pump(self, direction, source, sink):
        while data := await source.read(65536):
            self.counted[direction] += len(data)
            sink.write(data)
            await sink.drain()
        sink.close()


class Clients(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    async def app(self, **change):
        return await asyncio.to_thread(App, self.server, self._testMethodName, **change)

    async def open(self, app, subject, permissions=(), query=""):
        ws = await connect(await asyncio.to_thread(app.url, subject, permissions, query))
        self.addAsyncCleanup(ws.close)
        session = Session(ws)
        _, welcome = await session.expect("main", "welcome")
        session.id = welcome["connection"]["id"]
        self.assertEqual(welcome["connection"]["appId"], app.id)
        return session

    async def test_welcome_and_subscribe(self):
        app = await self.app()
        session = await self.open(app, "user0@example.com")
        self.assertRegex(session.id, "^[0-9a-f]{32}$")
        await session.subscribe("topic1")
        answer = await app.publish("topic1", {"hello": "world"})
        self.assertEqual(answer["bytes"], len('{"hello": "world"}'))
        self.assertEqual(await session.expect("topic1", "broadcast"), (False, {"hello": "world"}))

    async def test_publish_between_clients(self):
        app = await self.app()
        alice, bob = await self.open(app, "alice", [PUBLISH]), await self.open(app, "bob")
        await alice.send("publish", topic="main", payload="hello", id="52")
        for session in (alice, bob):
            _, data = await session.expect("main", "broadcast")
            client = {"connectionId": alice.id, "subject": "alice"}
            self.assertEqual(data, {"client": client, "payload": "hello", "id": "52"})

    async def test_compression_is_negotiated_and_transparent(self):
        app = await self.app()
        session = await self.open(app, "alice", [PUBLISH])
        names = [extension.name for extension in session.ws.protocol.extensions]
        self.assertEqual(names, ["permessage-deflate"])
        payload = {"text": "again and again " * 50}
        await session.send("publish", topic="main", payload=payload, compress=True)
        binary, data = await session.expect("main", "broadcast")
        self.assertTrue(binary)
        self.assertEqual(data["payload"], payload)
        await app.publish("main", payload, compress=True)
        self.assertEqual(await session.expect("main", "broadcast"), (True, payload))
        await app.publish("main", payload)
        self.assertEqual(await session.expect("main", "broadcast"), (False, payload))

    async def test_secure_topics(self):
        app = await self.app()
        reader = await self.open(app, "reader", ["realtime:subscriber:read:topic:secure/logs/*"])
        other = await self.open(app, "other")
        await reader.subscribe("secure/logs/1")
        await other.send("subscribe", topic="secure/logs/1")
        _, error = await other.expect("priv/errors", "error")
        self.assertEqual(error["code"], "permission_denied")
        await app.publish("secure/logs/1", "secret")
        self.assertEqual((await reader.expect("secure/logs/1", "broadcast"))[1], "secret")

    async def test_private_topics(self):
        app = await self.app()
        session = await self.open(app, "user0@example.com")
        for topic in (f"priv/{session.id}", "priv/user0@example.com"):
            await app.publish(topic, "hello")
            self.assertEqual((await session.expect(topic, "broadcast"))[1], "hello")

    async def test_inbound_messages_and_presence(self):
        app = await self.app()
        backend = await self.open(app, "backend", [INBOUND])
        await backend.subscribe("secure/inbound")
        user = await self.open(app, "user", ["some:permission"])
        client = {"connectionId": user.id, "subject": "user", "permissions": ["some:permission"]}

        def presence(code, status):
            return {"client": client, "subProtocol": 1, "payload": {"code": code, "status": status}}

        self.assertEqual((await backend.expect("secure/inbound", "presence"))[1], presence(0, "connected"))
        await user.send("message", payload=["hello"], id="52")
        _, data = await backend.expect("secure/inbound", "broadcast")
        self.assertEqual(data, {"client": client, "payload": ["hello"], "id": "52"})
        await user.ws.close()
        self.assertEqual((await backend.expect("secure/inbound", "presence"))[1], presence(-1, "disconnected"))

    async def test_acks_in_both_formats(self):
        app = await self.app(clientInboundAckEnabled=True)
        plain = await self.open(app, "plain", [PUBLISH])
        enveloped = await self.open(app, "enveloped", [PUBLISH], "&ack_format=envelope")
        for session, expected in ((plain, "52"), (enveloped, {"data": "52"})):
            await session.send("message", payload="hello", id="52")
            self.assertEqual((await session.expect("priv/acks", "ack"))[1], expected)

    async def test_binary_frames_are_read_like_text(self):
        session = await self.open(await self.app(), "user0", [PUBLISH])
        frame = {"type": "publish", "data": {"topic": "main", "payload": "from bytes: ä"}}
        await session.ws.send(json.dumps(frame, ensure_ascii=False).encode())
        binary, data = await session.expect("main", "broadcast")
        self.assertEqual((binary, data["payload"]), (False, "from bytes: ä"))

    async def test_frames_are_compressed_in_both_directions(self):
        app = await self.app()
        relay = await Relay.start(self.server.host)
        self.addAsyncCleanup(relay.stop)
        url = await asyncio.to_thread(app.url, "user0", [PUBLISH])
        ws = await connect(url.replace(self.server.host, relay.host))
        self.addAsyncCleanup(ws.close)
        session = Session(ws)
        await session.expect("main", "welcome")
        before, payload = dict(relay.counted), "again and again " * 250
        await session.send("publish", topic="main", payload=payload, compress=True)
        self.assertEqual((await session.expect("main", "broadcast"))[1]["payload"], payload)
        for direction in ("sent", "received"):
            self.assertLess(relay.counted[direction] - before[direction], len(payload) / 4, direction)

    async def expect_end(self, ws, code, reason):
        with self.assertRaises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(ws.recv(), DEADLINE)
        self.assertEqual((closed.exception.rcvd.code, closed.exception.rcvd.reason), (code, reason))

    async def test_clients_mistakes_end_the_session(self):
        app = await self.app(refusedSubscriptionPolicy="close")
        secure = json.dumps({"type": "subscribe", "data": {"topic": "secure/logs"}})
        for message, code, reason in (
            ("hello", 1008, "Invalid message format!"),
            ("x" * 5121, 1009, "Message too big"),
            (secure, 1008, "Subscription to secure topic is forbidden!"),
        ):
            session = await self.open(app, "user0")
            await session.ws.send(message)
            await self.expect_end(session.ws, code, reason)

    async def test_the_servers_side_ends_the_session(self):
        app = await self.app(disconnectOnTokenExpiry=True)
        session = await self.open(app, "user0")
        second = await connect(await asyncio.to_thread(app.url, "user0"))
        await self.expect_end(second, 4009, "Connection limit of the subject")
        await asyncio.to_thread(app.disconnect, session.id)
        await self.expect_end(session.ws, 4003, "Closed by an administrator")
        expiring = await connect(app.url_with(await asyncio.to_thread(app.token, "user0", (), "2")))
        await self.expect_end(expiring, 4001, "Token expired")
        session = await self.open(app, "user0")
        await asyncio.to_thread(app.delete)
        await self.expect_end(session.ws, 4004, "Application deleted or disabled")

    async def test_a_refusal_is_a_status_or_a_close_code(self):
        url = (await self.app()).url_with("malformed")
        with self.assertRaises(InvalidStatus) as refused:
            await connect(url)
        self.assertEqual(refused.exception.response.status_code, 401)
        self.assertEqual(json.loads(refused.exception.response.body)["code"], "unauthenticated")
        await self.expect_end(await connect(f"{url}&refusals=close"), 4401, "unauthenticated")

    async def test_reconnects_to_another_node_after_a_drain(self):
        node = await asyncio.to_thread(Server, "--drain-seconds", "1")
        self.addCleanup(node.stop)
        drained, other = await asyncio.to_thread(App, node, "drained"), await self.app()
        session = Session(await connect(await asyncio.to_thread(drained.url, "user0")))
        await session.expect("main", "welcome")
        node.terminate()
        await self.expect_end(session.ws, 1001, "Node is draining")
        await self.open(other, "user0")


if __name__ == "__main__":
    unittest.main()
