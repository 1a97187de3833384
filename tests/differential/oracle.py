"""Answers what Python's libraries say (PyJWT, zlib, OpenSSL through `cryptography`), and forges signatures and keys
that no library would make.

One JSON text a line each way: {"op":NAME,…} in, {"ok":…} or {"error":TEXT} out. The end of the input ends it.
"""

import base64
import datetime
import hmac
import json
import platform
import sys
import traceback
import warnings
import zlib
from importlib.metadata import version
from unittest import mock

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

import forge

# Short HMAC secrets are the caller's business here.
warnings.filterwarnings("ignore")


def text(data):
    return base64.b64encode(data).decode()


def at(now):
    """PyJWT's clock, standing still."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.fromtimestamp(now, tz)

    return mock.patch("jwt.api_jwt.datetime", Clock)


def verify(case):
    try:
        with at(case["now"]):
            claims = jwt.decode(
                case["token"],
                case["key"],
                algorithms=case["algorithms"],
                issuer=case.get("issuer"),
                audience=case.get("audience"),
                leeway=5,
            )
        # Not as JSON: a claim may be what JSON has no word for.
        return {"claims": True} if case.get("verdict") else {"claims": claims}
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}


def sign(question):
    return jwt.encode(question["claims"], question["key"], question["algorithm"], question.get("header"))


def verify_raw(case):
    """The verdict of PyJWT's algorithm on the bare signature."""
    algorithm = jwt.get_algorithm_by_name(case["algorithm"])
    try:
        key = algorithm.prepare_key(case["key"])
        return bool(algorithm.verify(base64.b64decode(case["message"]), key, base64.b64decode(case["signature"])))
    except (jwt.PyJWTError, ValueError):
        return False


def hmac_of(question):
    """An HMAC with any bytes as its key, which PyJWT would refuse."""
    digest = f"sha{question['algorithm'][2:]}"
    return text(hmac.digest(base64.b64decode(question["key"]), base64.b64decode(question["message"]), digest))


def read_key(pem):
    try:
        return {"type": type(load_pem_public_key(pem.encode())).__name__}
    except Exception as error:  # whatever it says: the key is not readable
        return {"refused": f"{type(error).__name__}: {error}"}


def deflate(case):
    message = base64.b64decode(case["message"])
    stream = zlib.compressobj(case["level"], zlib.DEFLATED, -case["windowBits"], case["memLevel"], case["strategy"])
    out = bytearray()
    start = 0
    for cut in case.get("cuts", []):
        out += stream.compress(message[start:cut]) + stream.flush(zlib.Z_FULL_FLUSH)
        start = cut
    out += stream.compress(message[start:])
    if case.get("final"):
        return text(bytes(out + stream.flush(zlib.Z_FINISH)))
    out += stream.flush(zlib.Z_SYNC_FLUSH)
    return text(bytes(out[:-4]))


def inflate(payload, limit):
    """zlib's verdict on a message's payload: a stream that has ended is followed by a new one, as RFC 7692 allows.
    `ended` says that one has, other than by the last byte."""
    rest = base64.b64decode(payload) + b"\x00\x00\xff\xff"
    message = b""
    ended = False
    try:
        while rest:
            stream = zlib.decompressobj(-15)
            message += stream.decompress(rest, limit + 1 - len(message))
            ended = ended or stream.eof
            if len(message) > limit:
                return {"refused": "too big", "ended": ended}
            rest = stream.unused_data
    except zlib.error as error:
        return {"refused": str(error), "ended": ended}
    return {"message": text(message), "ended": ended}


OPERATIONS = {
    "versions": lambda _: {
        "python": platform.python_version(),
        "pyjwt": version("PyJWT"),
        "cryptography": version("cryptography"),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    },
    "sign": sign,
    "verify": lambda question: [verify(case) for case in question["cases"]],
    "verify_raw": lambda question: [verify_raw(case) for case in question["cases"]],
    "hmac": hmac_of,
    "read_keys": lambda question: [read_key(pem) for pem in question["pems"]],
    "deflate": lambda question: [deflate(case) for case in question["cases"]],
    "inflate": lambda question: [inflate(payload, question["limit"]) for payload in question["payloads"]],
    "new_key": lambda question: forge.new_key(**question),
    "forge_signatures": lambda question: [
        {"name": name, "signature": text(signature)}
        for name, signature in forge.signatures(
            question["algorithm"], question["key"], base64.b64decode(question["message"])
        )
    ],
    "forge_keys": lambda _: forge.keys(),
}


def answer(line):
    try:
        question = json.loads(line)
        return {"ok": OPERATIONS[question.pop("op")](question)}
    except Exception:  # the question is wrong, and its asker is told why
        return {"error": traceback.format_exc()}


for line in sys.stdin:
    print(json.dumps(answer(line)), flush=True)
