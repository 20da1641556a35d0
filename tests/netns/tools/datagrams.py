#!/usr/bin/env python3
"""UDP datagrams that tcpdump -w recorded, of one namespace's link.

    datagrams.py list FILE              a line each: SECONDS SOURCE PORT DESTINATION PORT TYPE LENGTH
    datagrams.py hex FILE               the same with the payload in hexadecimal at the end
    datagrams.py replay FILE HOST PORT [times=N] [pause=SECONDS] [from=PORT] [type=NAME,...] [to=PORT] [shuffle]
                                        sends what was recorded (to=PORT: what went to that port) to HOST PORT
    datagrams.py flood KEY HOST PORT RATE SECONDS
                                        INITs for the public key KEY (base64) that pass mac1 and hold nothing

TYPE is INIT, RESP, COOKIE, REJECT, DATA or ? of the native wire; LENGTH is that of the UDP payload.
"""
import base64
import hashlib
import os
import random
import socket
import struct
import sys
import time

TYPES = {8: "INIT", 9: "RESP", 10: "COOKIE", 11: "REJECT", 12: "DATA"}
# Bytes in front of the IP header by link type: null, Ethernet, raw IP.
LINKS = {0: 4, 1: 14, 12: 0, 101: 0}


def udp_of(packet):
    """(source, destination, UDP header and payload), or None"""
    if len(packet) >= 28 and packet[0] >> 4 == 4 and packet[9] == 17:
        fragment, = struct.unpack_from(">H", packet, 6)
        if fragment & 0x3FFF == 0:
            header = (packet[0] & 15) * 4
            return (socket.inet_ntop(socket.AF_INET, packet[12:16]),
                    socket.inet_ntop(socket.AF_INET, packet[16:20]), packet[header:])
    if len(packet) >= 48 and packet[0] >> 4 == 6 and packet[6] == 17:
        return (socket.inet_ntop(socket.AF_INET6, packet[8:24]),
                socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[40:])
    return None


def read(path):
    """Yields (seconds, source, port, destination, port, payload)."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 24:
        return
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    fraction = 1e-9 if struct.unpack_from(order + "I", data)[0] == 0xA1B23C4D else 1e-6
    skip = LINKS[struct.unpack_from(order + "I", data, 20)[0]]
    at = 24
    while at + 16 <= len(data):
        seconds, part, length, _ = struct.unpack_from(order + "IIII", data, at)
        found = udp_of(data[at + 16 + skip:at + 16 + length])
        at += 16 + length
        if at <= len(data) and found:
            source, destination, udp = found
            sport, dport, size, _ = struct.unpack_from(">HHHH", udp)
            yield seconds + part * fraction, source, sport, destination, dport, udp[8:size]


def kind(payload):
    known = len(payload) >= 4 and payload[1:4] == b"\x01\0\0"
    return TYPES.get(payload[0], "?") if known else "?"


def show(path, with_bytes):
    for seconds, source, sport, destination, dport, payload in read(path):
        print(f"{seconds:.6f} {source} {sport} {destination} {dport} {kind(payload)} {len(payload)}"
              + (" " + payload.hex() if with_bytes else ""))


def replay(path, host, port, *options):
    given = dict(option.partition("=")[::2] for option in options)
    types = given["type"].split(",") if "type" in given else None
    chosen = [payload for _, _, _, _, dport, payload in read(path)
              if (types is None or kind(payload) in types) and dport == int(given.get("to", dport))]
    target = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    sender = socket.socket(target[0], socket.SOCK_DGRAM)
    sender.bind(("", int(given.get("from", 0))))
    random.seed(5)
    for _ in range(int(given.get("times", 1))):
        if "shuffle" in given:
            random.shuffle(chosen)
        for payload in chosen:
            sender.sendto(payload, target[4])
            time.sleep(float(given.get("pause", 0.0005)))
    print(len(chosen))


def flood(key, host, port, rate, seconds):
    label = b"vpnd1 mac1".ljust(16, b"\0")
    mac_key = hashlib.blake2b(label + base64.b64decode(key), digest_size=32).digest()
    target = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    sender = socket.socket(target[0], socket.SOCK_DGRAM)
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < float(seconds):
        if sent > (time.monotonic() - began) * float(rate):
            time.sleep(0.001)
            continue
        front = b"\x08\x01\0\0" + struct.pack("<I", random.getrandbits(28) << 4) + os.urandom(144)
        mac = hashlib.blake2b(front, key=mac_key, digest_size=16).digest()
        sender.sendto(front + mac + bytes(16), target[4])
        sent += 1
    print(sent)


def main(words):
    verbs = {"list": lambda path: show(path, False), "hex": lambda path: show(path, True),
             "replay": replay, "flood": flood}
    if len(words) < 2 or words[0] not in verbs:
        sys.exit(__doc__)
    verbs[words[0]](*words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
