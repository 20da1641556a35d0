#!/usr/bin/env python3
"""usage: no_offload.py DEVICE...

Takes segmentation and checksum offload from network devices, as `ethtool -K DEVICE tso off gso off gro off tx off rx off`
does: what such a device is given must be cut and summed.
"""
import array
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
SETTERS = {"rx": 0x15, "tx": 0x17, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for device in sys.argv[1:]:
        for name in ("tso", "gso", "gro", "tx", "rx"):
            value = array.array("B", struct.pack("II", SETTERS[name], 0))
            request = struct.pack("16sP16x", device.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(control, SIOCETHTOOL, request)
            except OSError as error:
                sys.exit(f"no_offload.py: {device}: {name}: {error.strerror}")


main()
