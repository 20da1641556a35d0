#!/usr/bin/env python3
"""usage: device_features.py DEVICE NAME=on|off...

Switches features of a network device by the kernel's own names (rx-gro, tx-udp-segmentation), as `ethtool -K` does.
"""
import array
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
GET_STRINGS, GET_SET_INFO, SET_FEATURES = 0x1B, 0x37, 0x3B
SET_OF_FEATURES = 4
NAME_BYTES = 32


def ask(device, request):
    """One command of ethtool; the kernel answers in the same memory."""
    memory = array.array("B", request)
    ifreq = struct.pack("16sP16x", device.encode(), memory.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, ifreq)
    return memory.tobytes()


def names_of(device):
    info = ask(device, struct.pack("=IIQI", GET_SET_INFO, 0, 1 << SET_OF_FEATURES, 0))
    count = struct.unpack_from("=I", info, 16)[0]
    head = struct.pack("=III", GET_STRINGS, SET_OF_FEATURES, count)
    text = ask(device, head + bytes(NAME_BYTES * count))[len(head) :]
    return [text[i : i + NAME_BYTES].rstrip(b"\0").decode() for i in range(0, NAME_BYTES * count, NAME_BYTES)]


def main():
    if len(sys.argv) < 3 or any("=" not in change for change in sys.argv[2:]):
        sys.exit(__doc__)
    device, names = sys.argv[1], names_of(sys.argv[1])
    blocks = (len(names) + 31) // 32
    valid, wanted = [0] * blocks, [0] * blocks
    for change in sys.argv[2:]:
        name, value = change.split("=")
        if name not in names:
            sys.exit(f"device_features.py: {device}: no feature {name}")
        bit = names.index(name)
        valid[bit // 32] |= 1 << bit % 32
        if value == "on":
            wanted[bit // 32] |= 1 << bit % 32
    pairs = [value for pair in zip(valid, wanted) for value in pair]
    try:
        ask(device, struct.pack(f"=II{2 * blocks}I", SET_FEATURES, blocks, *pairs))
    except OSError as error:
        sys.exit(f"device_features.py: {device}: {error.strerror}")


main()
