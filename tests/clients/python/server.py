"""Starts the real binary, and makes applications as the documentation describes them.

REALTIME_BIN names the binary; without it, that of a debug build. Tokens come from `realtime token`.
"""

import asyncio
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = os.environ.get("REALTIME_BIN", str(TARGET / "debug" / "realtime"))
OPERATOR_TOKEN = "operator-token-of-the-python-tests"
# With this variable every server speaks TLS; the clients must be told to trust tests/clients/tls/ca.pem.
TLS = "REALTIME_TEST_TLS" in os.environ
HTTP, WS = ("https", "wss") if TLS else ("http", "ws")
CERTIFICATE = ROOT / "tests" / "clients" / "tls"
TLS_ARGUMENTS = ["--tls-cert", CERTIFICATE / "chain.pem", "--tls-key", CERTIFICATE / "key.pem"] if TLS else []
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
    """A running `realtime serve` in a directory of its own, with more arguments, if any."""

    def __init__(self, *arguments):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="realtime-python-"))
        ready = self.home / "ready.json"
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(BINARY, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"),
                    *("--admin-listen", "127.0.0.1:0", "--data-dir", str(self.home / "data")),
                    *("--ready-file", str(ready), *TLS_ARGUMENTS, *arguments),
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

    def terminate(self):
        """Asks the server to drain and end."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method, path, token, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{HTTP}://{self.host}{path}", data, headers, method=method)
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
        eventually("the app on the node", self.served)

    def served(self):
        """Whether the configuration has come to the node, which then asks for an upgrade."""
        try:
            urllib.request.urlopen(f"{HTTP}://{self.server.host}/apps/{self.id}", timeout=DEADLINE)
        except urllib.error.HTTPError as answer:
            return None if answer.code == 404 else True

    def delete(self):
        self.server.call("DELETE", f"/api/apps/{self.id}", OPERATOR_TOKEN)

    def disconnect(self, connection_id):
        token = self.token("service-name", ["realtime:admin:manage:connections"])
        self.server.call("DELETE", f"/api/connections/{self.id}/{connection_id}", token)

    def token(self, subject, permissions=(), expires_in="60"):
        arguments = [BINARY, "token", "--app", self.id, "--sub", subject, "--key", self.key, "--alg", "ES512"]
        arguments += ["--expires-in", expires_in]
        for permission in permissions:
            arguments += ["--permission", permission]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()

    def url(self, subject, permissions=(), query=""):
        return self.url_with(self.token(subject, permissions), query)

    def url_with(self, token, query=""):
        return f"{WS}://{self.server.host}/apps/{self.id}?access_token={token}{query}"

    async def publish(self, topic, message, compress=False):
        """Publishes over HTTP, off the event loop."""
        token = await asyncio.to_thread(self.token, "service-name", [PUBLISH])
        body = {"topic": topic, "message": message, "compress": compress}
        path = f"/api/topics/{self.id}/publish"
        return await asyncio.to_thread(self.server.call, "POST", path, token, body)
