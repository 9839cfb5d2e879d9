"""The cipher suites of ESP: their names in configurations, in `ip xfrm state`, and in scapy."""
import dataclasses
import secrets


@dataclasses.dataclass(frozen=True)
class Suite:
    """How one SA is encrypted and authenticated. Of AEADs `key_bytes` counts the 4 bytes of salt, and there is no hash."""
    encryption: str
    key_bytes: int
    scapy: str
    hash: str = ""
    auth_bytes: int = 0

    @property
    def name(self):
        return f"{self.encryption}-{self.hash}" if self.hash else self.encryption

    @property
    def icv_bits(self):
        """What the configuration's names stand for (RFC 2404, 4868, 4106, 7634)."""
        return HASH_BITS[self.hash] if self.hash else int(self.encryption.partition("gcm")[2] or 128)

    def keys(self):
        """Keywords of a new state with random keys."""
        keys = {"encryption": self.encryption}
        if self.key_bytes:
            keys["key"] = "0x" + secrets.token_hex(self.key_bytes)
        if self.hash:
            keys |= {"hash": self.hash, "auth-key": "0x" + secrets.token_hex(self.auth_bytes)}
        return keys


HASH_BITS = {"sha1": 96, "sha256": 128, "sha384": 192, "sha512": 256}
HASH_BYTES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

GCM = [Suite(f"aes{bits}gcm{icv}", bits // 8 + 4, "AES-GCM") for bits in (128, 192, 256) for icv in (64, 96, 128)]
CHACHA = [Suite("chacha20poly1305", 36, "CHACHA20-POLY1305")]
CBC = [Suite(f"aes{bits}", bits // 8, "AES-CBC", name, size) for bits in (128, 192, 256) for name, size in HASH_BYTES.items()]
NULL = [Suite("null", 0, "NULL", name, size) for name, size in HASH_BYTES.items()]
ALL = GCM + CHACHA + CBC + NULL
BY_NAME = {suite.name: suite for suite in ALL}
