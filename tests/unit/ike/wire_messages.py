#!/usr/bin/python3
"""Writes IKEv2 messages as scapy encodes them, for wire_codec_test.cpp: "name = hexadecimal" lines.

usage: wire_messages.py >wire_scapy.txt      (made with scapy 2.5.0)
"""
from scapy.contrib import ikev2 as ike

I, R = bytes.fromhex("0123456789abcdef"), bytes.fromhex("fedcba9876543210")


def transform(kind, number, key_bits=None, last=False):
    fields = {"transform_type": kind, "transform_id": number, "next_payload": 0 if last else 3}
    if key_bits:
        fields |= {"length": 12, "key_length": key_bits}
    return ike.IKEv2_payload_Transform(**fields)


def proposal(number, protocol, spi, transforms, last=True):
    chain = None
    for index, (kind, value, *bits) in enumerate(transforms):
        one = transform(kind, value, bits[0] if bits else None, index + 1 == len(transforms))
        chain = one if chain is None else chain / one
    return ike.IKEv2_payload_Proposal(next_payload=0 if last else 2, proposal=number, proto=protocol, SPI=spi,
                                      trans_nb=len(transforms), trans=chain)


def v4(low, high, protocol=0, ports=(0, 65535)):
    return ike.IPv4TrafficSelector(IP_protocol_ID=protocol, start_port=ports[0], end_port=ports[1],
                                   starting_address_v4=low, ending_address_v4=high)


def v6(low, high, protocol=0, ports=(0, 65535)):  # scapy's default length is that of its class, not of RFC 7296
    return ike.IPv6TrafficSelector(IP_protocol_ID=protocol, start_port=ports[0], end_port=ports[1], length=40,
                                   starting_address_v6=low, ending_address_v6=high)


# Lengths that are given are those that scapy 2.5.0 does not count right.
def counting(count):
    return bytes(range(count))


MESSAGES = {
    "init": ike.IKEv2(init_SPI=I, resp_SPI=bytes(8), exch_type=34, flags="Initiator", id=0) /
    ike.IKEv2_payload_SA(prop=proposal(1, 1, b"", [(1, 20, 256), (2, 5), (4, 19)], last=False) /
                         proposal(2, 1, b"", [(1, 12, 128), (1, 12, 256), (3, 12), (2, 5), (4, 14), (4, 31)])) /
    ike.IKEv2_payload_KE(group=19, load=counting(64)) /
    ike.IKEv2_payload_Nonce(load=counting(32)) /
    ike.IKEv2_payload_VendorID(vendorID=b"somebody") /
    ike.IKEv2_payload_Notify(type=16388, load=counting(20)) /
    ike.IKEv2_payload_Notify(type=16389, load=counting(20)) /
    ike.IKEv2_payload_Notify(type=16430),

    "auth": ike.IKEv2(init_SPI=I, resp_SPI=R, exch_type=35, flags="Response", id=0xfffffffe) /
    ike.IKEv2_payload_IDr(IDtype=2, ID=b"gw.example.org") /
    ike.IKEv2_payload_CERT_STR(cert_type=12, cert_data=counting(40)) /
    ike.IKEv2_payload_AUTH(auth_type=14, load=counting(50)) /
    ike.IKEv2_payload_SA(prop=proposal(2, 3, bytes.fromhex("c0ffee01"), [(1, 28), (5, 1)])) /
    ike.IKEv2_payload_TSi(traffic_selector=[v4("10.0.0.0", "10.0.2.255", 6, (443, 443)),
                                            v6("2001:db8::", "2001:db8::ffff", 58, (0x8000, 0x81ff))]) /
    ike.IKEv2_payload_TSr(traffic_selector=[v4("0.0.0.0", "255.255.255.255", 17, (65535, 0))]) /
    ike.IKEv2_payload_Notify(length=12, proto=3, SPIsize=4, SPI=bytes.fromhex("c0ffee02"), type=16393),

    "certreq": ike.IKEv2(init_SPI=I, resp_SPI=R, exch_type=35, flags="Initiator", id=1) /
    ike.IKEv2_payload_IDi(length=12, IDtype=1, ID="192.0.2.1") /
    ike.IKEv2_payload_CERTREQ(cert_type=4, cert_data=counting(40)),

    # Its class for Delete knows no fields: the load is RFC 7296 figure 20 by hand, two SPIs of ESP.
    "delete": ike.IKEv2(init_SPI=I, resp_SPI=R, exch_type=37, flags="Initiator", id=7) /
    ike.IKEv2_payload_Delete(vendorID=bytes.fromhex("03040002" "c0ffee01" "c0ffee02")),

    "empty": ike.IKEv2(init_SPI=I, resp_SPI=R, exch_type=37, flags="Initiator+Response", id=8),
}

if __name__ == "__main__":
    print("# IKEv2 messages as scapy 2.5.0 encodes them: wire_messages.py.")
    for name, message in MESSAGES.items():
        print(f"{name} = {bytes(message).hex()}")
