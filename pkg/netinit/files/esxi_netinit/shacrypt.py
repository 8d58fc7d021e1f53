"""SHA-512 crypt ($6$), after Ulrich Drepper's description: Python's own crypt
module is gone from 3.13, and ESXi's openssl would show the password in the
process list."""
import hashlib
import os

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS = 5000  # the default; the installer refuses a hash that says rounds=
MAX_SALT = 16
MAX_PASSWORD = 512  # bytes; the time grows with the square of it


def salt():
    """16 random characters of the alphabet."""
    return "".join(ALPHABET[byte & 63] for byte in bytearray(os.urandom(MAX_SALT)))


def random_password():
    return "".join(ALPHABET[byte & 63] for byte in bytearray(os.urandom(32)))


def crypt(password, with_salt=None, rounds=ROUNDS):
    """The hash of a text, in the form that has no rounds= for the default."""
    key = password.encode("utf-8")
    if len(key) > MAX_PASSWORD or b"\0" in key:
        raise ValueError("the password is too long or has a zero byte")
    with_salt = salt() if with_salt is None else with_salt
    digest = _digest(key, with_salt.encode("ascii"), rounds)
    mark = "" if rounds == ROUNDS else "rounds=%d$" % rounds
    return "$6$%s%s$%s" % (mark, with_salt, _encode(digest))


def _sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


def _fill(block, length):
    return block * (length // 64) + block[:length % 64]


def _digest(key, with_salt, rounds):
    other = _sha512(key, with_salt, key)
    parts = [key, with_salt, _fill(other, len(key))]
    bits = len(key)
    while bits:
        parts.append(other if bits & 1 else key)
        bits >>= 1
    mixed = _sha512(*parts)
    p = _fill(_sha512(key * len(key)), len(key))
    s = _fill(_sha512(with_salt * (16 + mixed[0])), len(with_salt))
    for i in range(rounds):
        parts = [p if i & 1 else mixed]
        if i % 3:
            parts.append(s)
        if i % 7:
            parts.append(p)
        parts.append(mixed if i & 1 else p)
        mixed = _sha512(*parts)
    return mixed


def _encode(digest):
    """Three bytes, 21 apart and in a turning order, become four characters."""
    out = []
    a, b, c = 0, 21, 42
    for _ in range(21):
        out.append(_four(digest[a] << 16 | digest[b] << 8 | digest[c], 4))
        a, b, c = b + 1, c + 1, a + 1
    out.append(_four(digest[63], 2))
    return "".join(out)


def _four(value, count):
    return "".join(ALPHABET[value >> 6 * i & 63] for i in range(count))
