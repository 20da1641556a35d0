#!/usr/bin/env python3
"""usage: manager.py [--watchdog SECONDS] [--at-once] EVENTS SOCKET NOTIFY COMMAND...

Plays the service manager for one program: opens the stream socket SOCKET, starts COMMAND when somebody connects there
(--at-once: without waiting), passes the socket on as descriptor 3, and listens at NOTIFY. As Restart=on-failure it starts
the program anew when that fails, and with --watchdog it ends one that is silent for so long. What happens is told in
the file EVENTS, a JSON object a line, with the time of CLOCK_MONOTONIC in microseconds:

    {"at": 1, "started": PID}    {"at": 2, "from": PID, "said": {"READY": "1"}}    {"at": 3, "silent": PID}
    {"at": 4, "ended": STATUS}                                                      (negative: the signal)

SIGTERM ends the program, then this one; the socket's file goes last."""
import argparse
import json
import os
import select
import signal
import socket
import struct
import sys
import time

RESTART_S = 0.2


def now_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class Manager:
    def __init__(self, options):
        self.options = options
        self.child = None
        self.heard_at = None
        self.events = open(options.events, "w", encoding="utf-8")
        self.ending = False
        self.start_at = 0 if options.at_once else None
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(options.socket)
        os.chmod(options.socket, 0o600)
        self.listener.listen(16)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(options.notify)
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.wake, wake_end = os.pipe()
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.on_term)

    def tell(self, **what):
        print(json.dumps({"at": now_us(), **what}), file=self.events, flush=True)

    def on_term(self, *_):
        self.ending = True
        if self.child:
            os.kill(self.child, signal.SIGTERM)

    def start(self):
        self.start_at = None
        pid = os.fork()
        if pid == 0:
            fd = os.dup(self.listener.fileno())
            if fd != 3:
                os.dup2(fd, 3)
            os.set_inheritable(3, True)
            os.closerange(4, 256)
            environment = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="control",
                               NOTIFY_SOCKET=self.options.notify)
            if self.options.watchdog:
                environment.update(WATCHDOG_USEC=str(int(self.options.watchdog * 1e6)), WATCHDOG_PID=str(os.getpid()))
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(self.options.command[0], self.options.command, environment)
        self.child = pid
        self.heard_at = None
        self.tell(started=pid)

    def hear(self):
        data, control, _, _ = self.notify.recvmsg(4096, 256)
        pid = next(struct.unpack("3i", value[:12])[0] for _, kind, value in control if kind == socket.SCM_CREDENTIALS)
        said = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
        self.tell(**{"from": pid, "said": said})
        if pid == self.child and ("READY" in said or "WATCHDOG" in said):
            self.heard_at = time.monotonic()
        if "STOPPING" in said:
            self.heard_at = None

    def turn(self):
        timeout = 1.0
        watched = [self.notify, self.wake]
        if self.child is None and not self.ending:
            watched.append(self.listener)
            if self.start_at is not None:
                timeout = max(0, self.start_at - time.monotonic())
        if self.options.watchdog and self.heard_at is not None:
            timeout = max(0, min(timeout, self.heard_at + self.options.watchdog - time.monotonic()))
        ready, _, _ = select.select(watched, [], [], timeout)
        if self.wake in ready:
            os.read(self.wake, 64)
        if self.notify in ready:
            self.hear()
        if self.child:
            self.check()
        elif not self.ending and (self.listener in ready or
                                  (self.start_at is not None and time.monotonic() >= self.start_at)):
            self.start()

    def check(self):
        pid, status = os.waitpid(self.child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self.tell(ended=code)
            self.child = self.heard_at = None
            if code != 0:
                self.start_at = time.monotonic() + RESTART_S
        elif self.options.watchdog and self.heard_at is not None and \
                time.monotonic() > self.heard_at + self.options.watchdog:
            self.tell(silent=self.child)
            self.heard_at = None
            os.kill(self.child, signal.SIGABRT)
            os.kill(self.child, signal.SIGCONT)

    def run(self):
        while not self.ending or self.child:
            self.turn()
        os.unlink(self.options.socket)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--watchdog", type=float)
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument("events")
    parser.add_argument("socket")
    parser.add_argument("notify")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    Manager(parser.parse_args()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
