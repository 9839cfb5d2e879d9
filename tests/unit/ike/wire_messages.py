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
    return ike.IKEv2_payload_Proposal(next_payload=0 if last else 2, proposal=number, proto=protocol, SPI=spi, SPIsize=len(spi),
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


NUMBERS = {"SA": 33, "KE": 34, "IDi": 35, "IDr": 36, "CERT_STR": 37, "CERTREQ": 38, "AUTH": 39, "Nonce": 40, "Notify": 41,
           "Delete": 42, "VendorID": 43, "TSi": 44, "TSr": 45}


def message(exchange, number, flags, payloads=(), responder=R):
    """scapy leaves the payloads' types to the caller: section 3.2's "next payload"."""
    types = [NUMBERS[type(each).__name__.removeprefix("IKEv2_payload_")] for each in payloads] + [0]
    chain = ike.IKEv2(init_SPI=I, resp_SPI=responder, exch_type=exchange, flags=flags, id=number, next_payload=types[0])
    for payload, following in zip(payloads, types[1:]):
        payload.next_payload = following
        chain = chain / payload
    return chain


MESSAGES = {
    "init": message(34, 0, "Initiator", [
        ike.IKEv2_payload_SA(prop=proposal(1, 1, b"", [(1, 20, 256), (2, 5), (4, 19)], last=False) /
                             proposal(2, 1, b"", [(1, 12, 128), (1, 12, 256), (3, 12), (2, 5), (4, 14), (4, 31)])),
        ike.IKEv2_payload_KE(group=19, load=counting(64)),
        ike.IKEv2_payload_Nonce(load=counting(32)),
        ike.IKEv2_payload_VendorID(vendorID=b"somebody"),
        ike.IKEv2_payload_Notify(type=16388, load=counting(20)),
        ike.IKEv2_payload_Notify(type=16389, load=counting(20)),
        ike.IKEv2_payload_Notify(type=16430)], responder=bytes(8)),

    "auth": message(35, 0xfffffffe, "Response", [
        ike.IKEv2_payload_IDr(IDtype=2, ID=b"gw.example.org"),
        ike.IKEv2_payload_CERT_STR(cert_type=12, cert_data=counting(40)),
        ike.IKEv2_payload_AUTH(auth_type=14, load=counting(50)),
        ike.IKEv2_payload_SA(prop=proposal(2, 3, bytes.fromhex("c0ffee01"), [(1, 28), (5, 1)])),
        ike.IKEv2_payload_TSi(traffic_selector=[v4("10.0.0.0", "10.0.2.255", 6, (443, 443)),
                                                v6("2001:db8::", "2001:db8::ffff", 58, (0x8000, 0x81ff))]),
        ike.IKEv2_payload_TSr(traffic_selector=[v4("0.0.0.0", "255.255.255.255", 17, (65535, 0))]),
        ike.IKEv2_payload_Notify(length=12, proto=3, SPIsize=4, SPI=bytes.fromhex("c0ffee02"), type=16393)]),

    "certreq": message(35, 1, "Initiator", [
        ike.IKEv2_payload_IDi(length=12, IDtype=1, ID="192.0.2.1"),
        ike.IKEv2_payload_CERTREQ(cert_type=4, cert_data=counting(40))]),

    # Its class for Delete knows no fields: the load is RFC 7296 section 3.11 by hand, two SPIs of ESP.
    "delete": message(37, 7, "Initiator", [
        ike.IKEv2_payload_Delete(vendorID=bytes.fromhex("03040002" "c0ffee01" "c0ffee02"))]),

    "empty": message(37, 8, "Initiator+Response"),
}

if __name__ == "__main__":
    print("# IKEv2 messages as scapy 2.5.0 encodes them: wire_messages.py.")
    for name, built in MESSAGES.items():
        print(f"{name} = {bytes(built).hex()}")
