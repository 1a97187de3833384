"""The documentation's clients with Python's `websockets`, against a running server.

REALTIME_BIN names the binary; without it, that of a debug build. Tokens come from `realtime token`.
"""

import asyncio
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = os.environ.get("REALTIME_BIN", str(TARGET / "debug" / "realtime"))
OPERATOR_TOKEN = "operator-token-of-the-python-tests"
# Far above what anything takes: reaching it means that it never happens.
DEADLINE = 15.0

PUBLISH = "realtime:publisher:write:topic:*"
INBOUND = "realtime:subscriber:read:topic:secure/inbound"


def eventually(what, attempt):
    """Asks again and again until `attempt` gives a value."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = attempt()
        if value is not None:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {DEADLINE} s")


class Server:
    """A running `realtime serve` in a directory of its own."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="realtime-python-"))
        ready = self.home / "ready.json"
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(BINARY, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"),
                    *("--admin-listen", "127.0.0.1:0", "--data-dir", str(self.home / "data")),
                    *("--ready-file", str(ready)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "REALTIME_OPERATOR_TOKEN": OPERATOR_TOKEN},
            )

        def addresses():
            assert self.process.poll() is None, (self.home / "log").read_text()
            try:
                return json.loads(ready.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                return None

        self.host = eventually("the ready file", addresses)["listen"]

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method, path, token, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.host}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            return json.loads(response.read() or b"null")


class App:
    """An application with an ES512 key made by `realtime keys generate`."""

    def __init__(self, server, name, **change):
        self.server = server
        stem = str(server.home / name.replace(" ", "-"))
        subprocess.run([BINARY, "keys", "generate", "--alg", "ES512", "--out", stem], check=True, capture_output=True)
        self.key = f"{stem}.key"
        key = {
            "source": "raw",
            "key": pathlib.Path(f"{stem}.pub").read_text(),
            "algorithms": ["ES512"],
            "issuer": [],
        }
        config = {"name": name, "authKey": key, "adminKey": key, "enableWebSocketInboundTopic": True, **change}
        self.id = server.call("POST", "/api/apps", OPERATOR_TOKEN, config)["appId"]

    def token(self, subject, permissions=()):
        arguments = [BINARY, "token", "--app", self.id, "--sub", subject, "--key", self.key, "--alg", "ES512"]
        for permission in permissions:
            arguments += ["--permission", permission]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()

    def url(self, subject, permissions=(), query=""):
        return f"ws://{self.server.host}/apps/{self.id}?access_token={self.token(subject, permissions)}{query}"

    async def publish(self, topic, message, compress=False):
        """Publishes over HTTP, off the event loop."""
        token = await asyncio.to_thread(self.token, "service-name", [PUBLISH])
        body = {"topic": topic, "message": message, "compress": compress}
        path = f"/api/topics/{self.id}/publish"
        return await asyncio.to_thread(self.server.call, "POST", path, token, body)


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


class Clients(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    async def app(self, **change):
        return await asyncio.to_thread(App, self.server, self._testMethodName, **change)

    async def opened(self, url):
        """Connects; the configuration of a new app may still be on its way to the node."""
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return await connect(url)
            except InvalidStatus as refusal:
                if refusal.response.status_code != 404 or time.monotonic() > end:
                    raise

    async def open(self, app, subject, permissions=(), query=""):
        ws = await self.opened(await asyncio.to_thread(app.url, subject, permissions, query))
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

    async def test_an_invalid_message_ends_the_session(self):
        session = await self.open(await self.app(), "user0")
        await session.ws.send("hello")
        with self.assertRaises(ConnectionClosed) as closed:
            await asyncio.wait_for(session.ws.recv(), DEADLINE)
        self.assertEqual((closed.exception.rcvd.code, closed.exception.rcvd.reason), (1008, "Invalid message format!"))


if __name__ == "__main__":
    unittest.main()
