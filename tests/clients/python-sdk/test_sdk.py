"""The published SDK, PyPI `realtime-pubsub-client`, as its README uses it, on an application configured for it.

docs/protocol.md, "Published SDKs", says what of this its users should know. Needs an environment of its own
(requirements.txt beside this file).
"""

import asyncio
import logging
import pathlib
import sys
import unittest

from realtime_pubsub_client import RealtimeClient, wait

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from server import DEADLINE, INBOUND, PUBLISH, App, Server  # noqa: E402

FOR_SDKS = {
    "clientInboundAckEnabled": True,
    "clientInboundAckFormat": "envelope",
    "refusedSubscriptionPolicy": "close",
}


class Sdk(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        # The SDK logs what the tests provoke.
        logging.disable(logging.CRITICAL)
        cls.addClassCleanup(logging.disable, logging.NOTSET)
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    async def app(self, **change):
        return await asyncio.to_thread(App, self.server, self._testMethodName, **{**FOR_SDKS, **change})

    def client(self, url_provider):
        client = RealtimeClient({"websocket_options": {"url_provider": url_provider}})
        client.errors = []
        client.on("error", client.errors.append)
        self.addAsyncCleanup(client.disconnect)
        return client

    async def started(self, client):
        start = asyncio.ensure_future(client.wait_for("session.started", DEADLINE))
        await asyncio.wait_for(client.connect(), DEADLINE)
        client.connection = (await start)[0]
        return client

    async def open(self, app, subject, permissions=(), query=""):
        async def url():
            return await asyncio.to_thread(app.url, subject, permissions, query)

        return await self.started(self.client(url))

    async def subscribe(self, client, topic):
        welcome = asyncio.ensure_future(client.wait_for(f"{topic}.welcome", DEADLINE))
        # Listening begins with the task's first step.
        await asyncio.sleep(0)
        self.assertIs(await client.subscribe_remote_topic(topic), client)
        return (await welcome)[0]

    async def told(self, client, event, doing):
        """The event's message, which `doing` brings about."""
        waiting = asyncio.ensure_future(client.wait_for(event, DEADLINE))
        await asyncio.sleep(0)
        await doing
        return (await waiting)[0]

    async def test_a_session_starts_with_what_the_connection_is(self):
        app = await self.app()
        # The URL may be a text, a function, or a coroutine's.
        url = await asyncio.to_thread(app.url, "user0")
        for provider in (url, lambda: url):
            client = await self.started(self.client(provider))
            self.assertRegex(client.connection["id"], "^[0-9a-f]{32}$")
            self.assertEqual((client.connection["appId"], client.connection["remoteAddress"]), (app.id, "127.0.0.1"))
            await client.disconnect()

    async def test_remote_topics_and_wildcards(self):
        app = await self.app()
        client = await self.open(app, "user0")
        welcome = await self.subscribe(client, "topic1")
        self.assertEqual(welcome["data"]["connection"], client.connection)
        await self.subscribe(client, "topic2")
        seen = []
        client.on("topic1.*", lambda message, reply: seen.append(message["data"]))
        message = await self.told(client, "*.broadcast", app.publish("topic1", {"hello": "world"}))
        expected = {"topic": "topic1", "messageType": "broadcast", "data": {"hello": "world"}, "compression": False}
        self.assertEqual(message, expected)
        await client.unsubscribe_remote_topic("topic1")
        await self.subscribe(client, "fence")
        await app.publish("topic1", "gone")
        message = await self.told(client, "topic2.broadcast", app.publish("topic2", "there"))
        self.assertEqual((message["data"], seen), ("there", [{"hello": "world"}]))

    async def test_publishing_has_an_id_a_message_type_and_an_acknowledgement(self):
        app = await self.app()
        client = await self.open(app, "alice", [PUBLISH])

        async def publish():
            waiter = await client.publish("main", "Hi", message_type="text-message", message_id="my-id")
            await waiter.wait_for_ack(DEADLINE)

        message = await self.told(client, "main.text-message", publish())
        sender = {"connectionId": client.connection["id"], "subject": "alice"}
        self.assertEqual(message["data"], {"client": sender, "payload": "Hi", "id": "my-id"})
        await (await client.publish("nobody", {"an": "object"})).wait_for_ack(DEADLINE)
        await (await client.send({"for": "the backend"})).wait_for_ack(DEADLINE)

    async def test_acknowledgements_need_the_envelope(self):
        app = await self.app(clientInboundAckFormat="id")
        asking = await self.open(app, "asking", [PUBLISH], "&ack_format=envelope")
        await (await asking.publish("main", "x")).wait_for_ack(DEADLINE)
        # Without it each ack is an error of the SDK's.
        plain = await self.open(app, "plain", [PUBLISH])
        error = await self.told(plain, "error", plain.publish("main", "x"))
        self.assertIsInstance(error, TypeError)

    async def test_a_client_answers_another_one_and_a_backend_answers_a_client(self):
        app = await self.app()
        backend = await self.open(app, "backend", [PUBLISH, INBOUND])
        await self.subscribe(backend, "secure/inbound")
        await self.subscribe(backend, "peers")
        acked = []

        async def answer(message, reply):
            data = [message["data"]["payload"], message["compression"]]
            waiter = await reply(data, "done", compress=message["compression"])
            acked.append(asyncio.ensure_future(waiter.wait_for_ack(DEADLINE)))

        backend.on("*.ask", answer)
        client = await self.open(app, "client", [PUBLISH])
        for compress in (False, True):
            for asking in (
                client.send("Hi", message_type="ask", compress=compress, message_id="7"),
                client.publish("peers", "Hi", message_type="ask", compress=compress, message_id="7"),
            ):
                (response,) = await (await asking).wait_for_reply(DEADLINE)
                self.assertEqual(response, {"data": ["Hi", compress], "status": "done", "id": "7"})
        self.assertEqual(len(await asyncio.gather(*acked)), 4)

    async def test_what_a_service_published_has_nobody_to_reply_to(self):
        app = await self.app()
        client = await self.open(app, "user0", [PUBLISH])
        waiting = asyncio.ensure_future(client.wait_for("main.broadcast", DEADLINE))
        await asyncio.sleep(0)
        await app.publish("main", {"a": 1})
        _, reply = await waiting
        with self.assertRaisesRegex(ValueError, "Connection ID is not available"):
            reply("hello")

    async def test_presence_is_an_event_of_the_inbound_topic(self):
        app = await self.app()
        backend = await self.open(app, "backend", [INBOUND])
        await self.subscribe(backend, "secure/inbound")
        user = self.client(lambda: url)
        url = await asyncio.to_thread(app.url, "user0")
        came = await self.told(backend, "secure/inbound.presence", self.started(user))
        went = await self.told(backend, "secure/inbound.presence", user.disconnect())
        for message, code, status in ((came, 0, "connected"), (went, -1, "disconnected")):
            self.assertEqual(message["data"]["client"]["subject"], "user0")
            self.assertEqual(message["data"]["payload"], {"code": code, "status": status})

    async def test_a_refused_subscription_closes_the_session_and_the_sdk_comes_back(self):
        client = await self.open(await self.app(), "user0")
        again = asyncio.ensure_future(client.wait_for("session.started", DEADLINE))
        closed = await self.told(client, "close", client.subscribe_remote_topic("secure/logs"))
        self.assertEqual((closed.rcvd.code, closed.rcvd.reason), (1008, "Subscription to secure topic is forbidden!"))
        self.assertNotEqual((await again)[0]["id"], client.connection["id"])

    async def test_with_the_policy_error_a_refusal_is_an_event(self):
        client = await self.open(await self.app(refusedSubscriptionPolicy="error"), "user0")
        message = await self.told(client, "priv/errors.error", client.subscribe_remote_topic("secure/logs"))
        self.assertEqual(message["data"]["code"], "permission_denied")
        await self.subscribe(client, "public")

    async def test_after_a_close_the_sdk_asks_for_a_new_url_and_subscribes_in_its_handler(self):
        app = await self.app()
        asked = []

        async def url():
            asked.append(len(asked))
            return await asyncio.to_thread(app.url, f"user{len(asked)}", [PUBLISH])

        client = self.client(url)

        async def subscribe(connection):
            await client.subscribe_remote_topic("topic1")

        client.on("session.started", subscribe)
        await self.started(client)
        await self.subscribe(client, "fence")
        again = asyncio.ensure_future(client.wait_for("topic1.welcome", DEADLINE))
        disconnecting = asyncio.to_thread(app.disconnect, client.connection["id"])
        closed = await self.told(client, "close", disconnecting)
        self.assertEqual(closed.rcvd.code, 4003)
        await again
        message = await self.told(client, "topic1.broadcast", client.publish("topic1", "x"))
        self.assertEqual((message["data"]["client"]["subject"], len(asked)), ("user2", 2))

    async def test_a_refused_token_is_an_error_and_the_next_one_is_asked_for(self):
        app = await self.app()
        urls = [app.url_with("malformed"), await asyncio.to_thread(app.url, "user0")]
        client = await self.started(self.client(lambda: urls.pop(0)))
        self.assertEqual([error.status_code for error in client.errors], [401])

    async def test_after_a_drain_the_sdk_says_nothing_and_the_program_has_to_connect_again(self):
        node = await asyncio.to_thread(Server, "--drain-seconds", "1")
        self.addCleanup(node.stop)
        drained, other = await asyncio.to_thread(App, node, "drained"), await self.app()
        urls = [await asyncio.to_thread(app.url, "user0", [PUBLISH]) for app in (drained, other)]
        client = self.client(lambda: urls.pop(0))
        closed = []
        client.on("close", closed.append)
        await self.started(client)
        node.terminate()
        await asyncio.wait_for(client.ws.wait_closed(), DEADLINE)
        self.assertEqual((client.ws.close_code, closed), (1001, []))
        with self.assertRaisesRegex(Exception, "not established"):
            await client.publish("main", "x")
        await self.started(client)
        self.assertEqual(client.connection["appId"], other.id)

    async def test_the_second_client_of_a_subject_tries_until_the_first_has_gone(self):
        app = await self.app()
        first = await self.open(app, "user0")
        url = await asyncio.to_thread(app.url, "user0")
        second = self.client(url)
        start = asyncio.ensure_future(second.wait_for("session.started", DEADLINE))
        closed = await self.told(second, "close", second.connect())
        self.assertEqual(closed.rcvd.code, 4009)
        await first.disconnect()
        await start

    async def test_compressed_messages_are_told_as_such(self):
        client = await self.open(await self.app(), "user0", [PUBLISH])
        payload = {"text": "again and again " * 100}
        message = await self.told(client, "main.broadcast", client.publish("main", payload, compress=True))
        self.assertEqual((message["data"]["payload"], message["compression"]), (payload, True))

    async def test_coming_back_to_main_starts_the_session_once_more(self):
        client = await self.open(await self.app(), "user0")

        async def leave_and_come_back():
            await client.unsubscribe_remote_topic("main")
            await client.subscribe_remote_topic("main")

        self.assertEqual(await self.told(client, "session.started", leave_and_come_back()), client.connection)

    async def test_after_disconnect_nothing_can_be_sent(self):
        client = await self.open(await self.app(), "user0", [PUBLISH])
        await client.disconnect()
        await wait(0)
        with self.assertRaisesRegex(Exception, "not established"):
            await client.publish("main", "x")


if __name__ == "__main__":
    unittest.main()
