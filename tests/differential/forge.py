"""Signatures and keys that no library makes, after the kinds of cases that Project Wycheproof collects.

Everything is computed here from a fresh key; what a verifier must say to it stands in the tests.
"""

import base64
import hashlib
import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
# The order and the field's prime of each curve.
ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    "secp521r1": int("1" + "F" * 65 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
PRIMES = {
    "secp256r1": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "secp384r1": 2**384 - 2**128 - 2**96 + 2**32 - 1,
    "secp521r1": 2**521 - 1,
}
ED25519_PRIME = 2**255 - 19
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
# The points of small order by their y and the sign of their x (RFC 8032 encoding), and spellings with y + p.
SMALL_ORDER = [
    ("1", 1, 0),
    ("-1", ED25519_PRIME - 1, 0),
    ("0", 0, 0),
    ("0, x negative", 0, 1),
    ("order 8, a", 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7, 0),
    ("order 8, b", 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7, 1),
    ("order 8, c", 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826, 0),
    ("order 8, d", 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826, 1),
    ("0 as p", ED25519_PRIME, 0),
    ("0 as p, x negative", ED25519_PRIME, 1),
    ("1 as p + 1", ED25519_PRIME + 1, 0),
    ("1, x negative", 1, 1),
    ("-1, x negative", ED25519_PRIME - 1, 1),
]


def new_key(kind, bits=2048, form="PKCS8"):
    """A key pair as PEM."""
    if kind == "rsa":
        private = rsa.generate_private_key(65537, bits)
    elif kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind])
    secret = private.private_bytes(Encoding.PEM, getattr(PrivateFormat, form), NoEncryption())
    return {"private": secret.decode(), "public": spki(private.public_key())}


def spki(public, form=PublicFormat.SubjectPublicKeyInfo):
    return public.public_bytes(Encoding.PEM, form).decode()


def signatures(algorithm, key, message):
    """Names and signatures; the one named `valid` is."""
    private = load_pem_private_key(key.encode(), None)
    if algorithm == "EdDSA":
        return eddsa(private, message)
    digest = HASHES[algorithm[2:]]
    if algorithm.startswith("ES"):
        return ecdsa(private, digest, message)
    return (pkcs1 if algorithm.startswith("RS") else pss)(private, digest, message)


def ecdsa(private, digest, message):
    n, p = ORDERS[private.curve.name], PRIMES[private.curve.name]
    size = (private.curve.key_size + 7) // 8
    der = private.sign(message, ec.ECDSA(digest))
    r, s = decode_dss_signature(der)

    def raw(r, s):
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    yield "valid", raw(r, s)
    yield "s negated modulo the order", raw(r, n - s)
    special = {"0": 0, "1": 1, "n - 1": n - 1, "n": n, "n + 1": n + 1, "p": p, "all ones": 2 ** (8 * size) - 1}
    for name, value in special.items():
        yield f"r = {name}", raw(value, s)
        yield f"s = {name}", raw(r, value)
        for other, second in special.items():
            yield f"r = {name}, s = {other}", raw(value, second)
    for name, one, two in [("r + n", r + n, s), ("s + n", r, s + n)]:
        if max(one, two) < 2 ** (8 * size):
            yield name, raw(one, two)
    yield "r in two's complement negative", raw(2 ** (8 * size) - r, s)
    yield "s in two's complement negative", raw(r, 2 ** (8 * size) - s)
    yield "r and s swapped", raw(s, r)
    yield "little-endian", r.to_bytes(size, "little") + s.to_bytes(size, "little")
    yield "DER", der
    yield "DER padded to the raw length", der.ljust(2 * size, b"\0")[: 2 * size]
    yield "r only", raw(r, s)[:size]
    yield "last byte missing", raw(r, s)[:-1]
    yield "a byte more", raw(r, s) + b"\0"
    yield "a zero before each half", b"\0" + r.to_bytes(size, "big") + b"\0" + s.to_bytes(size, "big")
    yield "a zero before", b"\0" + raw(r, s)
    yield "twice", raw(r, s) * 2
    yield "empty", b""
    for name, other in [(str(h.digest_size * 8), h) for h in HASHES.values() if h.name != digest.name]:
        yield f"SHA-{name} signed", raw(*decode_dss_signature(private.sign(message, ec.ECDSA(other))))
    yield "another message", raw(*decode_dss_signature(private.sign(message + b"x", ec.ECDSA(digest))))
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        other = ec.generate_private_key(curve)
        r, s = decode_dss_signature(other.sign(message, ec.ECDSA(digest)))
        width = (curve.key_size + 7) // 8
        yield f"another key of {curve.name}", r.to_bytes(width, "big") + s.to_bytes(width, "big")
        if width <= size:
            yield f"another key of {curve.name}, in this one's length", raw(r, s)


class RsaKey:
    """The bare operations of an RSA key."""

    def __init__(self, private):
        numbers = private.private_numbers()
        self.n, self.p, self.q = numbers.public_numbers.n, numbers.p, numbers.q
        self.dp, self.dq, self.inverse = numbers.dmp1, numbers.dmq1, numbers.iqmp
        self.size = (self.n.bit_length() + 7) // 8

    def apply(self, encoded):
        number = int.from_bytes(encoded, "big")
        one, two = pow(number, self.dp, self.p), pow(number, self.dq, self.q)
        return (two + (one - two) * self.inverse % self.p * self.q).to_bytes(self.size, "big")


def rsa_forms(key, valid):
    """What is wrong with any padding."""
    s = int.from_bytes(valid, "big")
    yield "valid", valid
    for name, value in [("0", 0), ("1", 1), ("n - 1", key.n - 1), ("n", key.n), ("n - s", key.n - s)]:
        yield f"signature = {name}", value.to_bytes(key.size, "big")
    yield "signature + n", (s + key.n).to_bytes(key.size + 1, "big")
    yield "all ones", b"\xff" * key.size
    yield "a zero before", b"\0" + valid
    yield "a zero after", valid + b"\0"
    yield "first byte missing", valid[1:]
    yield "last byte missing", valid[:-1]
    yield "reversed", valid[::-1]
    yield "empty", b""


DIGEST_OIDS = {"sha256": 1, "sha384": 2, "sha512": 3}


def digest_info(name, digest, parameters=b"\x05\x00"):
    oid = bytes.fromhex("0609608648016503040200")[:-1] + bytes([DIGEST_OIDS[name]])
    return tlv(0x30, tlv(0x30, oid + parameters) + tlv(0x04, digest))


def tlv(tag, content):
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + content


def pkcs1(private, digest, message):
    key = RsaKey(private)
    hashed = hashlib.new(digest.name, message).digest()
    info = digest_info(digest.name, hashed)

    def block(info, start=b"\0\1", fill=b"\xff", end=b"\0", after=b""):
        room = key.size - len(start + end + info + after)
        return key.apply(start + fill * room + end + info + after)

    yield from rsa_forms(key, private.sign(message, padding.PKCS1v15(), digest))
    yield "no NULL in the AlgorithmIdentifier", block(digest_info(digest.name, hashed, b""))
    yield "another parameter than NULL", block(digest_info(digest.name, hashed, b"\x04\x00"))
    yield "a digest of another hash's OID", block(
        digest_info("sha384" if digest.name != "sha384" else "sha256", hashed)
    )
    yield "the bare digest", block(hashed)
    yield "the digest cut by a byte", block(digest_info(digest.name, hashed[:-1]))
    yield "the digest and a byte more", block(digest_info(digest.name, hashed + b"\0"))
    yield "a long-form length", block(b"\x30\x81" + info[1:])
    yield "an indefinite length", block(b"\x30\x80" + info[2:] + b"\0\0")
    yield "block type 0", block(info, b"\0\0", b"\0")
    yield "block type 2", block(info, b"\0\2")
    yield "a first byte that is not zero", block(info, b"\1\1")
    yield "no separator", block(info, end=b"")
    yield "padding that is not ones", block(info, fill=b"\xfe")
    yield "one byte of padding not ones", block(info, b"\0\1\xff\xfe")
    yield "garbage after the digest", key.apply(
        (b"\0\1" + b"\xff" * 8 + b"\0" + info + secrets.token_bytes(key.size))[: key.size]
    )
    yield "a NUL after the digest", block(info, after=b"\0")
    yield "no padding", key.apply((b"\0\1\0" + info).ljust(key.size, b"\0"))
    for other in HASHES.values():
        salt = padding.PSS(padding.MGF1(other), other.digest_size)
        yield f"PSS with {other.name}", private.sign(message, salt, other)
        if other.name != digest.name:
            yield f"PKCS #1 with {other.name}", private.sign(message, padding.PKCS1v15(), other)
    yield "PKCS #1 with sha1", key.apply(
        b"\0\1".ljust(key.size - 36, b"\xff") + b"\0" + bytes.fromhex("3021300906052b0e03021a05000414")
        + hashlib.sha1(message).digest()
    )
    yield "another message", private.sign(message + b"x", padding.PKCS1v15(), digest)


def mgf1(name, seed, size):
    out = b""
    while len(out) < size:
        out += hashlib.new(name, seed + (len(out) // hashlib.new(name).digest_size).to_bytes(4, "big")).digest()
    return out[:size]


def pss(private, digest, message):
    key = RsaKey(private)
    name, width = digest.name, digest.digest_size
    em_size, spare = (key.n.bit_length() + 6) // 8, 8 * key.size - (key.n.bit_length() - 1)

    def encode(salt=None, mgf=name, before=b"", one=b"\1", trailer=0xBC, top=0, hashed=None):
        salt = secrets.token_bytes(width) if salt is None else salt
        hashed = hashed or hashlib.new(name, message).digest()
        h = hashlib.new(name, b"\0" * 8 + hashed + salt).digest()
        db = (before + b"\0" * em_size)[: em_size - len(salt) - width - 2] + one + salt
        masked = bytearray(a ^ b for a, b in zip(db, mgf1(mgf, h, len(db)), strict=True))
        masked[0] = masked[0] & (0xFF >> spare) | top
        return bytes(masked) + h + bytes([trailer])

    def block(*arguments, **changes):
        return key.apply(encode(*arguments, **changes))

    # OpenSSL takes a PSS signature without its leading zeros; the forms below are of one that has none.
    signed = (private.sign(message, padding.PSS(padding.MGF1(digest), width), digest) for _ in iter(int, 1))
    yield from rsa_forms(key, next(signature for signature in signed if signature[0]))
    yield "valid, computed here", block()
    longest = em_size - width - 2
    for size in (0, 1, 20, width - 1, width + 1, 2 * width, longest):
        yield f"a salt of {'the greatest length' if size == longest else f'{size - width:+} bytes'}", block(
            secrets.token_bytes(size)
        )
    yield "trailer 0xcc", block(trailer=0xCC)
    yield "trailer 0", block(trailer=0)
    yield "padding that is not zeros", block(before=b"\0\1")
    yield "no one before the salt", block(one=b"\0")
    yield "a two before the salt", block(one=b"\2")
    yield "a salt of zeros, hash of another message", block(b"\0" * width, hashed=hashlib.new(name, b"x").digest())
    # Only a number below the modulus can be signed; with two leading ones in it, most are.
    with_spare_bits = (encode(top=0xFF00 >> spare & 0xFF) for _ in range(100))
    small = next((em for em in with_spare_bits if int.from_bytes(em, "big") < key.n), None)
    if small:
        yield "spare bits set", key.apply(small)
    for other in HASHES.values():
        if other.name != name:
            yield f"MGF1 with {other.name}", block(mgf=other.name)
            yield f"PSS with {other.name}", private.sign(message, padding.PSS(padding.MGF1(other), other.digest_size), other)
        yield f"PKCS #1 with {other.name}", private.sign(message, padding.PKCS1v15(), other)
    yield "MGF1 with sha1", block(mgf="sha1")
    yield "another message", private.sign(message + b"x", padding.PSS(padding.MGF1(digest), width), digest)


def eddsa(private, message):
    valid = private.sign(message)
    r, s = valid[:32], int.from_bytes(valid[32:], "little")

    def with_s(value):
        return r + value.to_bytes(32, "little")

    yield "valid", valid
    yield "S + L", with_s(s + ED25519_ORDER)
    yield "S + 2 L", with_s(s + 2 * ED25519_ORDER)
    yield "S + 8 L", with_s(s + 8 * ED25519_ORDER)
    for name, value in [("0", 0), ("1", 1), ("L", ED25519_ORDER), ("L - 1", ED25519_ORDER - 1), ("2^255", 2**255)]:
        yield f"S = {name}", with_s(value)
    yield "S negated", with_s(ED25519_ORDER - s)
    for bit in (253, 254, 255):
        yield f"bit {bit} of S set", with_s(s | 1 << bit)
    for name, y, sign in SMALL_ORDER:
        point = (y | sign << 255).to_bytes(32, "little")
        yield f"R = {name}", point + valid[32:]
        yield f"R = {name}, S = 0", point + bytes(32)
    yield "the sign of R flipped", valid[:31] + bytes([valid[31] ^ 0x80]) + valid[32:]
    yield "R and S swapped", valid[32:] + valid[:32]
    yield "big-endian", valid[:32][::-1] + valid[32:][::-1]
    yield "a byte less", valid[:-1]
    yield "a byte more", valid + b"\0"
    yield "R only", valid[:32]
    yield "all ones", b"\xff" * 64
    yield "all zeros", bytes(64)
    yield "empty", b""
    yield "another message", private.sign(message + b"x")
    yield "the prehashed message", private.sign(hashlib.sha512(message).digest())
    yield "another key", ed25519.Ed25519PrivateKey.generate().sign(message)


# ---- keys

OID_EC, OID_RSA = bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06092a864886f70d010101")
OID_RSA_PSS, OID_ED25519 = bytes.fromhex("06092a864886f70d01010a"), bytes.fromhex("06032b6570")
OID_P256, OID_P384 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06052b81040022")
OID_DSA = bytes.fromhex("06072a8648ce380401")


def armour(der, label="PUBLIC KEY", width=64):
    body = base64.b64encode(der).decode()
    lines = [body[i : i + width] for i in range(0, len(body), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def info(algorithm, key):
    return tlv(0x30, tlv(0x30, algorithm) + tlv(0x03, b"\0" + key))


def integer(value):
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_info(n, e, algorithm=OID_RSA + b"\x05\x00"):
    return info(algorithm, tlv(0x30, integer(n) + integer(e)))


def odd(bits):
    return secrets.randbits(bits) | 1 << (bits - 1) | 1


def keys():
    """Texts that somebody may put where a public key belongs, by name, and the private keys of the good ones."""
    pairs = {
        "P-256": ec.generate_private_key(ec.SECP256R1()),
        "RSA": rsa.generate_private_key(65537, 2048),
        "RSA, exponent 3": rsa.generate_private_key(3, 2048),
    }
    public = pairs["P-256"].public_key()
    numbers = public.public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    cases = [
        *ec_keys(x, y, der),
        *rsa_keys(pairs["RSA"].public_key(), pairs["RSA, exponent 3"].public_key()),
        *edwards_keys(),
        *texts(pairs["P-256"], spki(public), der),
    ]
    return {
        "private": {
            name: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
            for name, key in pairs.items()
        },
        "cases": [{"name": name, "pem": pem} for name, pem in cases],
    }


def edwards_keys():
    for name, y, sign in SMALL_ORDER:
        yield f"Ed25519 of small order, y = {name}", armour(info(OID_ED25519, (y | sign << 255).to_bytes(32, "little")))
    yield "Ed25519 off the curve", armour(info(OID_ED25519, (2).to_bytes(32, "little")))
    yield "Ed25519 of 31 bytes", armour(info(OID_ED25519, bytes(range(1, 32))))
    yield "Ed25519 of 33 bytes", armour(info(OID_ED25519, bytes(range(1, 34))))
    yield "Ed448", spki(ed448.Ed448PrivateKey.generate().public_key())
    yield "X25519", spki(x25519.X25519PrivateKey.generate().public_key())


def ec_keys(x, y, der):
    def point(encoded, curve=OID_P256):
        return armour(info(OID_EC + curve, encoded))

    yield "P-256", armour(der)
    yield "P-256 compressed", point(bytes([2 + (y[-1] & 1)]) + x)
    yield "P-256 hybrid", point(bytes([6 + (y[-1] & 1)]) + x + y)
    yield "P-256 off the curve", point(b"\4" + x + y[:-1] + bytes([y[-1] ^ 1]))
    yield "P-256 (0, 0)", point(b"\4" + bytes(64))
    yield "P-256 at infinity", point(b"\0")
    yield "P-256 without a point", point(b"")
    yield "P-256 x over the prime", point(b"\4" + b"\xff" * 32 + y)
    yield "P-256 point cut", point(b"\4" + x + y[:-1])
    yield "P-256 point and a byte more", point(b"\4" + x + y + b"\0")
    yield "P-256 point without its form", point(x + y)
    yield "P-256 point named P-384", point(b"\4" + x + y, OID_P384)
    yield "P-256 without its curve", point(b"\4" + x + y, b"")
    yield "P-256 named an RSA key", armour(info(OID_RSA + b"\x05\x00", b"\4" + x + y))
    yield "P-256 and a byte after", armour(der + b"\0")
    yield "P-256 cut", armour(der[:-1])
    yield "P-256 in indefinite length", armour(b"\x30\x80" + der[2:] + b"\0\0")
    yield "P-256 without an algorithm", armour(tlv(0x30, tlv(0x03, b"\0\4" + x + y)))
    yield "P-256 bare point", armour(b"\4" + x + y)
    for curve in (ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()):
        yield curve.name, spki(ec.generate_private_key(curve).public_key())


def rsa_keys(public, exponent_three):
    n = public.public_numbers().n
    yield "RSA", spki(public)
    yield "RSA, PKCS #1", spki(public, PublicFormat.PKCS1)
    yield "RSA, exponent 3", spki(exponent_three)
    for name, e in [("0", 0), ("1", 1), ("2", 2), ("65536", 65536), ("2^64 + 1", 2**64 + 1), ("n - 2", n - 2)]:
        yield f"RSA exponent {name}", armour(rsa_info(n, e))
    for bits in (512, 1024, 2047, 8193, 16384):
        yield f"RSA of {bits} bits", armour(rsa_info(odd(bits), 65537))
    yield "RSA modulus even", armour(rsa_info(odd(2048) - 1, 65537))
    yield "RSA modulus 0", armour(rsa_info(0, 65537))
    yield "RSA modulus negative", armour(
        info(OID_RSA + b"\x05\x00", tlv(0x30, tlv(0x02, n.to_bytes(256, "big")) + integer(65537)))
    )
    yield "RSA for PSS only", armour(rsa_info(n, 65537, OID_RSA_PSS))
    yield "RSA without NULL", armour(rsa_info(n, 65537, OID_RSA))
    inner = tlv(0x30, integer(n) + integer(65537))
    yield "RSA PKCS #1 labelled PUBLIC KEY", armour(inner)
    yield "RSA SPKI labelled RSA PUBLIC KEY", armour(rsa_info(n, 65537), "RSA PUBLIC KEY")
    yield "RSA with a byte after the exponent", armour(
        info(OID_RSA + b"\x05\x00", tlv(0x30, integer(n) + integer(65537) + b"\0"))
    )
    yield "DSA", armour(info(OID_DSA + tlv(0x30, integer(odd(2048)) + integer(odd(256)) + integer(4)), integer(odd(2047))))


def texts(private, pem, der):
    """What surrounds a key, and what is none."""
    body = base64.b64encode(der).decode()
    secret = {
        "PKCS #8": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "SEC1": private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "OpenSSH": private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        "encrypted": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    }
    for name, text in secret.items():
        yield f"private {name}", text.decode()
        yield f"private {name} after the public key", pem + text.decode()
    yield "private in lower case", secret["PKCS #8"].decode().lower()
    yield "private, labelled PUBLIC KEY", secret["PKCS #8"].decode().replace("PRIVATE", "PUBLIC")
    yield "P-256, CRLF", pem.replace("\n", "\r\n")
    yield "P-256, no line end", pem.rstrip("\n")
    yield "P-256, text around", f"our key:\n{pem}\nthat was it\n"
    yield "P-256, one long line", armour(der, width=4096)
    yield "P-256, after a byte order mark", "\ufeff" + pem
    yield "P-256, twice", pem + pem
    yield "P-256, a stranger's before it", spki(ec.generate_private_key(ec.SECP256R1()).public_key()) + pem
    yield "P-256, indented", "".join(f"    {line}\n" for line in pem.splitlines())
    yield "line ends written as backslash n", pem.replace("\n", "\\n")
    yield "labels in lower case", pem.lower()
    yield "END of another label", pem.replace("END PUBLIC", "END EC PUBLIC")
    yield "no END", pem[: pem.index("-----END")]
    yield "no BEGIN", pem[pem.index("\n") :]
    yield "nothing between the lines", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"
    yield "garbage in base64", armour(secrets.token_bytes(91))
    yield "garbage that is no base64", pem.replace(body[:20], "!" * 20)
    yield "a good key and a broken one", pem + pem.replace(body[:20], "A" * 20)
    yield "a good key and half of one", pem + pem[: len(pem) // 2]
    yield "bare base64", body
    yield "a word", "secret"
    yield "an SSH key", private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    yield "labelled CERTIFICATE", armour(der, "CERTIFICATE")
    yield "labelled CERTIFICATE REQUEST", armour(der, "CERTIFICATE REQUEST")
    yield "labelled EC PARAMETERS", armour(OID_P256, "EC PARAMETERS")
    yield "EC PARAMETERS before the key", armour(OID_P256, "EC PARAMETERS") + pem
    yield "labelled PGP", armour(der, "PGP PUBLIC KEY BLOCK")
