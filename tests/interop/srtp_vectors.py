#!/usr/bin/env python3
"""Writes tests/data/srtp/libsrtp.txt: packets protected by libsrtp, for a bit-exact comparison.

    python3 -m venv venv && venv/bin/pip install pylibsrtp
    venv/bin/python tests/interop/srtp_vectors.py > tests/data/srtp/libsrtp.txt

pylibsrtp (PyPI) carries libsrtp. Keys and payloads come from a seeded generator (first argument,
default 1), so the same seed gives the same file. The reader is src/srtp/vectors.rs; the format:

    profile NAME
    key HEX                              master key
    salt HEX                             master salt
    rtp INDEX HEADER_LEN PLAIN PROTECTED     INDEX = ROC << 16 | sequence number
    rtcp INDEX PLAIN PROTECTED               INDEX = 31-bit SRTCP index
"""

import random
import struct
import sys

import pylibsrtp
from pylibsrtp import Policy, Session

PROFILES = [
    ("AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
    ("AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    ("AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
]


def rtp(rng, seq, ssrc, csrcs, extension, payload_len):
    """An RTP packet (RFC 3550 5.1) and the length of its header."""
    first = 0x80 | (0x10 if extension is not None else 0) | len(csrcs)
    packet = struct.pack("!BBHII", first, 96, seq, rng.getrandbits(32), ssrc)
    packet += b"".join(struct.pack("!I", csrc) for csrc in csrcs)
    if extension is not None:
        profile, words = extension
        packet += struct.pack("!HH", profile, words) + rng.randbytes(4 * words)
    return packet + rng.randbytes(payload_len), len(packet)


def compounds(rng, ssrc):
    """RTCP compounds (RFC 3550 6, RFC 4585 6) that one sender would send."""
    media = rng.getrandbits(32)
    report = struct.pack("!I", media) + rng.randbytes(20)
    empty_rr = struct.pack("!BBHI", 0x80, 201, 1, ssrc)
    rr = struct.pack("!BBHI", 0x81, 201, 7, ssrc) + report
    sr = struct.pack("!BBHI", 0x81, 200, 12, ssrc) + rng.randbytes(20) + report
    sdes = struct.pack("!BBHI", 0x81, 202, 3, ssrc) + b"\x01\x04leaf\x00\x00"
    nack = struct.pack("!BBHIIHH", 0x81, 205, 3, ssrc, media, 7, 0x8001)
    pli = struct.pack("!BBHII", 0x81, 206, 2, ssrc, media)
    return [empty_rr, sr + sdes, rr + nack + pli, pli]


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rng = random.Random(seed)
    print("# SRTP and SRTCP packets protected by libsrtp; written by tests/interop/srtp_vectors.py")
    print(f"# pylibsrtp {pylibsrtp.__version__}, seed {seed}")
    for name, profile, key_len, salt_len in PROFILES:
        key, salt = rng.randbytes(key_len), rng.randbytes(salt_len)
        ssrc = rng.getrandbits(32)
        policy = Policy(
            key=key + salt, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile
        )
        session = Session(policy=policy)
        print(f"profile {name}\nkey {key.hex()}\nsalt {salt.hex()}")

        shapes = [
            ([], None, 20),
            ([], (0xBEDE, 1), 1),
            ([1, 2], None, 33),
            ([], (0x1000, 3), 64),
            ([7], (0xBEDE, 2), 160),
            ([], (0xBEDE, 0), 0),
            (list(range(15)), (0xBEDE, 4), 15),
            ([], None, 16),
        ]
        first = 65_533
        for i, (csrcs, extension, payload_len) in enumerate(shapes):
            index = first + i
            plain, header_len = rtp(rng, index & 0xFFFF, ssrc, csrcs, extension, payload_len)
            protected = session.protect(plain)
            print(f"rtp {index} {header_len} {plain.hex()} {protected.hex()}")

        # libsrtp counts SRTCP packets from 1.
        for index, plain in enumerate(compounds(rng, ssrc), start=1):
            print(f"rtcp {index} {plain.hex()} {session.protect_rtcp(plain).hex()}")


if __name__ == "__main__":
    main()
