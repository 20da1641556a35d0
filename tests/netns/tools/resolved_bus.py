#!/usr/bin/env python3
"""A system bus with nobody on it but systemd-resolved, as far as vpnd can tell: it takes calls by the D-Bus wire and prints them.

usage: resolved_bus.py SOCKET [absent]     with "absent" the bus is there and resolved is not
"""
import os
import socket
import struct
import sys


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def align(self, n):
        self.at += -self.at % n

    def take(self, code):
        size = struct.calcsize(code)
        self.align(size)
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += size
        return value

    def value(self, signature):
        """Reads one value of the signature; gives it and the rest of the signature."""
        code, rest = signature[0], signature[1:]
        if code in "so":
            length = self.take("I")
            text = self.data[self.at:self.at + length].decode()
            assert self.data[self.at + length] == 0
            self.at += length + 1
            return text, rest
        if code == "g":
            length = self.take("B")
            text = self.data[self.at:self.at + length].decode()
            self.at += length + 1
            return text, rest
        if code == "v":
            inner, _ = self.value("g")
            return self.value(inner)[0], rest
        if code == "(":
            self.align(8)
            items = []
            while rest[0] != ")":
                item, rest = self.value(rest)
                items.append(item)
            return tuple(items), rest[1:]
        if code == "a":
            length = self.take("I")
            self.align(8 if rest[0] in "({xtd" else {"i": 4, "u": 4, "s": 4, "q": 2}.get(rest[0], 1))
            end, items = self.at + length, []
            after = Reader(b"\0" * 64)
            while self.at < end:
                item, _ = self.value(rest)
                items.append(item)
            assert self.at == end, "an array that ends in the middle of an element"
            del after
            depth = 0
            for i, c in enumerate(rest):
                depth += (c == "(") - (c == ")")
                if depth == 0 and c != "a":
                    return items, rest[i + 1:]
        return self.take({"y": "B", "q": "H", "i": "i", "u": "I", "b": "I"}[code]), rest

    def values(self, signature):
        out = []
        while signature:
            item, signature = self.value(signature)
            out.append(item)
        assert self.at == len(self.data), "bytes are left"
        return out


def header_field(code, signature, value):
    if signature == "u":
        body = struct.pack("<I", value)
    else:
        body = struct.pack("<I", len(value)) + value.encode() + b"\0"
    return bytes([code, 1]) + signature.encode() + b"\0" + body


def answer(serial, to, error=None):
    fields = header_field(5, "u", to)
    if error:
        fields += b"\0" * (-len(fields) % 8) + header_field(4, "s", error)
    head = struct.pack("<cBBBIII", b"l", 3 if error else 2, 1, 1, 0, serial, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8)


def exactly(link, n):
    data = b""
    while len(data) < n:
        more = link.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def serve(link, absent):
    line = b""
    while not line.endswith(b"BEGIN\r\n"):
        line += exactly(link, 1)
        if line.endswith(b"\r\n") and b"AUTH" in line:
            assert line == b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n", line
            link.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
            line = b""
    serial = 0
    while True:
        head = exactly(link, 16)
        assert head[0:1] == b"l" and head[1] == 1 and head[3] == 1, head
        body_len, to, fields_len = struct.unpack("<III", head[4:])
        rest = exactly(link, fields_len + (-fields_len % 8) + body_len)
        fields = Reader(head + rest[:fields_len], 12)
        named = dict(fields.value("a(yv)")[0])
        body = rest[len(rest) - body_len:]
        values = Reader(body).values(named.get(8, ""))
        serial += 1
        if named[6] == "org.freedesktop.DBus":
            # the answer, behind a signal that nobody asked for
            signal = struct.pack("<cBBBIII", b"l", 4, 1, 1, 0, serial, 0)
            link.sendall(signal + answer(serial, to))
            continue
        assert named[6] == "org.freedesktop.resolve1" and named[1] == "/org/freedesktop/resolve1", named
        assert head[2] & 2, "it would start a service"
        if absent:
            link.sendall(answer(serial, to, "org.freedesktop.DBus.Error.ServiceUnknown"))
            continue
        print(named[3], *values, flush=True)
        link.sendall(answer(serial, to))


def main():
    path = sys.argv[1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(8)
    print("ready", flush=True)
    while True:
        link, _ = listener.accept()
        try:
            serve(link, len(sys.argv) > 2)
        except EOFError:
            pass
        link.close()


main()
