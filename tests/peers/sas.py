"""ESP SAs as each side tells of them, in the same words: names of ciphers and hashes are those of our configuration."""
import dataclasses
import re


@dataclasses.dataclass(frozen=True, order=True)
class Sa:
    """One installed ESP SA; `direction` as the first of the two sides sees it."""
    direction: str  # "in", "out"
    spi: int
    suite: str  # "aes256gcm128", "aes128-sha1"
    encapsulated: bool

    def other_side(self):
        return dataclasses.replace(self, direction={"in": "out", "out": "in"}[self.direction])

    def __str__(self):
        return f"{self.direction} {self.spi:08x} {self.suite}{' in UDP' if self.encapsulated else ''}"


def other_side(found):
    """The same SAs as the other gateway must see them."""
    return {sa.other_side() for sa in found}


def text_of(found):
    return ", ".join(map(str, sorted(found))) or "none"


CIPHERS = {"AES_CBC": "aes{}", "AES_GCM_16": "aes{}gcm128", "AES_GCM_12": "aes{}gcm96", "AES_GCM_8": "aes{}gcm64",
           "CHACHA20_POLY1305": "chacha20poly1305"}
HASHES = {"HMAC_SHA1_96": "sha1", "HMAC_SHA2_256_128": "sha256", "HMAC_SHA2_384_192": "sha384",
          "HMAC_SHA2_512_256": "sha512"}
CHILD = re.compile(r"state=(?P<state>\w+) mode=\w+ protocol=ESP (?P<encap>encap=yes )?spi-in=(?P<spi_in>\w+) "
                   r"spi-out=(?P<spi_out>\w+) .*?encr-alg=(?P<cipher>\S+)(?: encr-keysize=(?P<bits>\d+))?"
                   r"(?: integ-alg=(?P<hash>\S+))?")


def of_swanctl(text):
    """The installed ones in the output of `swanctl --list-sas --raw`."""
    children = [match.groupdict() for match in CHILD.finditer(text) if match["state"] == "INSTALLED"]
    return {Sa(direction, int(child[f"spi_{direction}"], 16), suite_of(child), bool(child["encap"]))
            for child in children for direction in ("in", "out")}


def suite_of(child):
    cipher = CIPHERS.get(child["cipher"], child["cipher"]).format(child["bits"])
    return cipher + (f"-{HASHES.get(child['hash'], child['hash'])}" if child["hash"] else "")


STATE = re.compile(r"^src (\S+) dst (\S+)\n\s+proto esp spi 0x(\w+)(.*?)(?=^src |\Z)", re.DOTALL | re.MULTILINE)
AEADS = {"rfc4106(gcm(aes))": lambda key, icv: f"aes{(len(key) - 2) * 4 - 32}gcm{icv}",
         "rfc7539esp(chacha20,poly1305)": lambda key, icv: "chacha20poly1305"}


def of_xfrm(text, own):
    """Those with keys in the output of `ip xfrm state` of the gateway with the addresses `own`."""
    return {Sa("in" if destination in own else "out", int(spi, 16), suite_of_xfrm(body), "encap type espinudp" in body)
            for source, destination, spi, body in STATE.findall(text) if suite_of_xfrm(body)}


def suite_of_xfrm(body):
    """Nothing for a state that only waits for its key."""
    if aead := re.search(r"aead (\S+) (0x\w+) (\d+)", body):
        return AEADS[aead[1]](aead[2], aead[3])
    cipher = re.search(r"enc cbc\(aes\) (0x\w+)", body)
    hashed = re.search(r"auth-trunc hmac\((\w+)\)", body)
    return f"aes{(len(cipher[1]) - 2) * 4}-{hashed[1]}" if cipher else ""


def of_espalier(rows):
    """Those that are up of the "sas" of `show ipsec sa --json`."""
    return {Sa(row["direction"], row["spi"], row["encryption"] + (f"-{row['hash']}" if row.get("hash") else ""), "encap" in row)
            for row in rows if row["state"] == "up"}
