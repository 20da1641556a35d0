#!/usr/bin/env python3
"""usage: udp_flood.py send ADDRESS PORT BYTES PACKETS_A_SECOND | udp_flood.py hold ADDRESS PORT

A stream of UDP packets at a steady pace, whatever becomes of them, until it is ended; and a socket that takes them in and
that nobody ever reads.
"""
import socket
import sys
import time

verb, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if verb == "hold":
    sock.bind((address, port))
    time.sleep(3600)
packet, pace = bytes(int(sys.argv[4])), int(sys.argv[5])
sock.connect((address, port))
began, sent = time.monotonic(), 0
while True:
    due = int((time.monotonic() - began) * pace)
    for _ in range(min(due - sent, 1000)):
        try:
            sock.send(packet)
        except OSError:  # the device is down, or its queue full: as on any link
            pass
    sent = due
    time.sleep(0.002)
