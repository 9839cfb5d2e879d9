#!/usr/bin/python3
"""Writes dh_model_vectors.txt: Diffie-Hellman by Python's integers alone, from the formulas of the RFCs.

The primes of RFC 2409 section 6.2 and RFC 3526 are 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) pi) + k); the curves
are those of RFC 5903 section 3. Each group gets an exchange of two private values, and one whose secret begins with
zero bytes, which must stay.
"""
import pathlib
import random

MODP = {2: (1024, 129093), 5: (1536, 741804), 14: (2048, 124476), 15: (3072, 1690314), 16: (4096, 240904),
        17: (6144, 929484), 18: (8192, 4743158)}
CURVES = {
    19: (2**256 - 2**224 + 2**192 + 2**96 - 1,
         0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
         0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5),
    20: (2**384 - 2**128 - 2**96 + 2**32 - 1,
         0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
         0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F),
    21: (2**521 - 1,
         0x00C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
         0x011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650)}


def floor_of_pi(bits):
    """floor(2^bits * pi) by Machin's formula."""
    guard = bits + 64

    def arctan_of_inverse(x):
        total, term, n, sign = 0, (1 << guard) // x, 1, 1
        while term:
            total += sign * (term // n)
            term //= x * x
            n, sign = n + 2, -sign
        return total
    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> 64


def prime(bits, k):
    return 2**bits - 2**(bits - 64) - 1 + 2**64 * (floor_of_pi(bits - 130) + k)


def add(p, one, two):
    """Affine points of y^2 = x^3 - 3x + b; None is infinity."""
    if one is None or two is None:
        return one or two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % p == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, p) if one == two else (y2 - y1) * pow(x2 - x1, -1, p)
    x = (slope * slope - x1 - x2) % p
    return x, (slope * (x1 - x) - y1) % p


def multiply(p, scalar, point):
    result = None
    for bit in bin(scalar)[2:]:
        result = add(p, result, result)
        if bit == "1":
            result = add(p, result, point)
    return result


def write(out, name, group, values):
    print(f"\nname = {name}\ngroup = {group:02x}", file=out)
    for key, value in values.items():
        print(f"{key} = {value.hex()}", file=out)


def modp(out, group, chance):
    bits, k = MODP[group]
    p, size = prime(bits, k), bits // 8

    def exchange(name, ours, theirs):
        write(out, f"group {group}{name}", group, {
            "private_value": ours.to_bytes(40, "big"), "public_value": pow(2, ours, p).to_bytes(size, "big"),
            "peer_public": pow(2, theirs, p).to_bytes(size, "big"), "secret": pow(2, ours * theirs, p).to_bytes(size, "big"), "prime": p.to_bytes(size, "big")})
    exchange("", chance.getrandbits(300), chance.getrandbits(300))
    exchange(", leading zeros", 11, 23)


def ecp(out, group, chance):
    p, *base = CURVES[group]
    base, size = tuple(base), (p.bit_length() + 7) // 8

    def exchange(name, ours, theirs):
        encoded = [b"".join(v.to_bytes(size, "big") for v in multiply(p, k, base)) for k in (ours, theirs, ours * theirs)]
        write(out, f"group {group}{name}", group, {
            "private_value": ours.to_bytes(size, "big"), "public_value": encoded[0], "peer_public": encoded[1],
            "secret": encoded[2][:size]})
    exchange("", chance.getrandbits(250), chance.getrandbits(250))
    scalar, point = 3, multiply(p, 3, base)
    while point[0] >> (8 * (size - 2 + (group != 21))):
        scalar, point = scalar + 3, add(p, point, multiply(p, 3, base))
    exchange(", leading zeros", 3, scalar // 3)


def main():
    chance = random.Random(1)
    with open(pathlib.Path(__file__).with_name("dh_model_vectors.txt"), "w") as out:
        print("# Diffie-Hellman. Made by make_dh_vectors.py from the formulas of RFC 2409, RFC 3526 and RFC 5903.", file=out)
        for group in MODP:
            modp(out, group, chance)
        for group in CURVES:
            ecp(out, group, chance)


main()
