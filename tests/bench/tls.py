"""What TLS costs a node: the same load over plain TCP and over TLS, in turns, against servers started for it.

    python3 tests/bench/tls.py target/release/realtime

The server runs on core 0; its CPU time is the kernel's count of its threads, its memory what is private to it.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

CERTIFICATES = Path(__file__).resolve().parent.parent / "clients" / "tls"
SECRET = "bench-secret-bench-secret-bench-32"
RUNS = 3
IDLE = 2000
# Name, subscribers, messages a second, sent at one time.
LOADS = [("single messages", 500, 20, 1), ("bursts of 16", 500, 400, 16)]
SECONDS = 3


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(subject):
    claims = {"sub": subject, "permissions": ["realtime:publisher:write:topic:*"]}
    signed = base64url(b'{"alg":"HS256"}') + "." + base64url(json.dumps(claims).encode())
    return signed + "." + base64url(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest())


def frame(text):
    """A masked text frame; a mask of zeros spares this side the work."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
    return b"\x81" + length + bytes(4) + text


class Connection(asyncio.Protocol):
    """A session that counts the bytes that arrive after its welcome."""

    def __init__(self, subject):
        self.subject, self.head, self.bytes = subject, b"", 0
        self.welcomed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        lines = [
            f"GET /apps/bench?access_token={token(self.subject)} HTTP/1.1", "Host: localhost",
            "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        ]
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data):
        if self.welcomed.done():
            self.bytes += len(data)
            return
        self.head += data
        if b'"welcome"' in self.head:
            self.welcomed.set_result(None)


class Server:
    """A server on core 0 with one application, over TLS or not."""

    def __init__(self, binary, tls, directory):
        ready = Path(directory) / "ready"
        arguments = [
            "taskset", "-c", "0", binary, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off",
            "--admin-listen", "off", "--shards", "1", "--data-dir", f"{directory}/data", "--ready-file", str(ready),
        ]
        if tls:
            arguments += ["--tls-cert", str(CERTIFICATES / "chain.pem"), "--tls-key", str(CERTIFICATES / "key.pem")]
        environment = {**os.environ, "REALTIME_OPERATOR_TOKEN": "bench"}
        self.process = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
        while not ready.exists():
            time.sleep(0.05)
        self.port = int(json.loads(ready.read_text())["listen"].rsplit(":", 1)[1])
        self.ssl = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem") if tls else None
        self._create_application("https" if tls else "http")

    def _create_application(self, scheme):
        key = {"source": "raw", "key": SECRET, "algorithms": ["HS256"], "issuer": []}
        app = {"appId": "bench", "name": "bench", "tier": "unlimited", "authKey": key, "adminKey": key}
        headers = {"Authorization": "Bearer bench", "Content-Type": "application/json"}
        url = f"{scheme}://localhost:{self.port}/api/apps"
        request = urllib.request.Request(url, json.dumps(app).encode(), headers, method="POST")
        urllib.request.urlopen(request, context=self.ssl).close()

    def cpu(self):
        """Seconds of CPU time of all its threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self):
        """Bytes that are private to it."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

    async def open(self, count, prefix):
        connections = []
        for number in range(count):
            name = "localhost" if self.ssl else None
            connect = asyncio.get_running_loop().create_connection(
                lambda: Connection(f"{prefix}{number}"), "127.0.0.1", self.port, ssl=self.ssl, server_hostname=name)
            connections.append((await connect)[1])
            await connections[-1].welcomed
        return connections

    def stop(self):
        self.process.kill()
        self.process.wait()


async def idle(server):
    """Private bytes and CPU microseconds of each of many connections."""
    first = await server.open(200, "first")
    memory, cpu = server.memory(), server.cpu()
    rest = await server.open(IDLE, "idle")
    cpu = server.cpu() - cpu
    await asyncio.sleep(1)
    found = (server.memory() - memory) / IDLE, cpu / IDLE * 1e6
    for connection in first + rest:
        connection.transport.abort()
    return found


async def deliver(server, subscribers, rate, burst):
    """CPU microseconds of each delivery."""
    connections = await server.open(subscribers, "subscriber")
    [publisher] = await server.open(1, "publisher")
    publisher.transport.write(frame(b'{"type":"unsubscribe","data":{"topic":"main"}}'))
    message = {"type": "publish", "data": {"topic": "main", "payload": "x" * 128, "id": "1"}}
    message = frame(json.dumps(message).encode())

    async def publish(count):
        due = time.monotonic()
        for _ in range(count // burst):
            publisher.transport.write(message * burst)
            due += burst / rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.sleep(0.5)

    await publish(rate)
    received, cpu, count = [connection.bytes for connection in connections], server.cpu(), rate * SECONDS
    await publish(count)
    cpu = server.cpu() - cpu
    received = {connection.bytes - before for connection, before in zip(connections, received)}
    assert len(received) == 1 and received.pop() > 128 * count, "a message did not arrive"
    return (cpu / (count // burst * burst * subscribers) * 1e6,)


def measure(binary, tls, load):
    with tempfile.TemporaryDirectory() as directory:
        server = Server(binary, tls, directory)
        try:
            return asyncio.run(load(server))
        finally:
            server.stop()


def figure(value):
    """Three digits are more than the measurement is good for already."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def main():
    binary = sys.argv[1]
    loads = [(("memory of an idle connection, B", "CPU of an accepted connection, µs"), idle)]
    for name, *load in LOADS:
        loads.append(((f"CPU per delivery, {name}, µs",), lambda server, load=load: deliver(server, *load)))
    print("| | plain | TLS |\n|---|---|---|")
    for names, load in loads:
        runs = [(measure(binary, False, load), measure(binary, True, load)) for _ in range(RUNS)]
        for index, name in enumerate(names):
            plain, tls = (statistics.median(run[side][index] for run in runs) for side in (0, 1))
            print(f"| {name} | {figure(plain)} | {figure(tls)} |", flush=True)


main()
