#!/usr/bin/env python3
"""usage: fake_daemon.py SOCKET CONFIG [PROTOCOL]

A vpnd for kcpctl alone: answers each method of the control protocol with something fixed, so that what kcpctl prints is
the same at each run. An order changes something the first time, and nothing from then on. Names of peers say what
becomes of an order:

    branch-2, lap-mia    are there          *-denied    "permission denied"         *-silent    no answer, ever
    anything else        is not there       *-gone      the connection ends

CONFIG is the file that the document of `status` names; PROTOCOL, 1, the version that it claims to speak. It says
READY on stdout once it listens."""
import json
import os
import socket
import sys
import threading

AT_MS = 1700000000000
KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


def peer(name, **more):
    document = {
        "name": name, "public_key": KEY, "state": "up", "enabled": True, "endpoint": "198.51.100.7:29900",
        "endpoints": [f"{name}.example.net:29900"], "endpoint_moved_age_s": None, "last_rx_age_s": 12.2,
        "handshake_age_s": 61.5, "rtt_ms": 38.04, "rtt_var_ms": 1.5, "path_mtu": 1472, "loss_raw_in": 0.001,
        "loss_raw_out": 0.0, "loss_residual_in": 0.0, "queue_ms": 2.5, "aqm_drops": 3, "aqm_marks": 0, "retransmits": 17,
        "rate_bps": 80000000,
        "fec": {"out": {"code": "off", "window": 0, "rate": 0.0}, "in": {"code": "off", "window": 0, "rate": 0.0},
                "recovered": 0, "wasted": 0},
        "rx_bytes": 1900000000, "tx_bytes": 400000000, "rx_packets": 1500000, "tx_packets": 600000, "drops": {},
        "allowed_ips": ["10.42.0.0/16", "fd42::/48"], "warnings": []}
    return {**document, **more}


def status(config):
    return {
        "schema": "kcpctl.status/1", "network": "office", "version": "0.1.0", "wire": "native", "public_key": KEY,
        "state": "degraded", "uptime_s": 273659.0, "listen": ["[::]:29900"],
        "interface": {"name": "kcp0", "ifindex": 7, "mtu": 1400, "mtu_source": "probed",
                      "addresses": ["10.40.0.1/24", "fd40::1/64"], "queues": 2, "offload": True,
                      "workers": [{"rx_packets": 5, "tx_packets": 6, "handed_on": 0},
                                  {"rx_packets": 7, "tx_packets": 8, "handed_on": 1}]},
        "config": {"file": config, "generation": 3},
        "peers": [
            peer("branch-2"),
            peer("lap-mia", state="degraded", endpoint="203.0.113.9:51311", endpoints=[], endpoint_moved_age_s=14.4,
                 last_rx_age_s=0.1, rtt_ms=91.2, loss_raw_in=0.062, loss_raw_out=0.004, loss_residual_in=0.013,
                 fec={"out": {"code": "rlc", "window": 64, "rate": 0.02}, "in": {"code": "rlc", "window": 64, "rate": 0.11},
                      "recovered": 812, "wasted": 95},
                 rx_bytes=212000000, tx_bytes=31000000, drops={"in_source": 4}, allowed_ips=["10.40.0.101/32"],
                 warnings=["residual loss 1.3 %"])],
        "warnings": []}


KNOWN = ("branch-2", "lap-mia")


class Refused(Exception):
    def __init__(self, number, code, text, hint=None):
        super().__init__(text)
        self.answer = {"code": number, "message": text, "data": {
            "code": code, "text": text, "hint": hint, "file": None, "line": None, "column": None, "detail": None}}


class Daemon:
    def __init__(self, config, protocol):
        self.config = config
        self.protocol = protocol
        self.done = set()
        self.rtts = [38.04, None, 41.5]

    def changes(self, *what):
        """True for the first order of its kind."""
        new = what not in self.done
        self.done.add(what)
        return new

    def look_at(self, names):
        for name in names:
            if name.endswith("-denied"):
                raise Refused(-32002, "E-CTL-1", "permission denied: only members of vpnd-admin may do that",
                              "use sudo, or join the group vpnd-admin")
            if name.endswith("-gone"):
                raise ConnectionError
            if name.endswith("-silent"):
                raise TimeoutError
            if name not in KNOWN:
                raise Refused(-32004, "E-CTL-2", f'no peer "{name}" in network "office"', "kcpctl peer list")

    def answer(self, method, params):
        names = params.get("peers", []) + ([params["peer"]] if params.get("peer") and not method.startswith("peer.") else [])
        self.look_at(names)
        if method == "hello":
            return {"protocol": self.protocol, "daemon": "0.1.0", "network": "office"}
        if method in ("status", "peer.list"):
            document = status(self.config)
            document["peers"] = [p for p in document["peers"] if not names or p["name"] in names]
            return document
        if method in ("up", "down"):
            return {"changed": self.changes(method, *names)}
        if method == "wait":
            return {}
        if method == "reload":
            return {"dry_run": params.get("dry_run", False), "added": ["lap-joe"], "changed": ["branch-2"], "removed": ["old"],
                    "settings": ["log.level: info -> debug"], "warnings": ["interface.name takes effect at the next start"],
                    "generation": 3 if params.get("dry_run") else 4}
        if method in ("peer.add", "peer.del"):
            return {"changed": self.changes(method, params["peer"]), "warnings": []}
        if method == "ping":
            return {"rtt_ms": self.rtts.pop(0) if self.rtts else 40.25, "size": params.get("size"), "path_mtu": 1472}
        if method == "log":
            lines = [{"time_ms": AT_MS, "level": "info", "text": "network office is up"},
                     {"time_ms": AT_MS + 1500, "level": "warn", "text": "peer lap-mia: degraded \x1b[2J"}]
            return {"lines": lines[max(0, len(lines) - params.get("lines", 1000)):]}
        if method == "watch":
            return {}
        raise Refused(-32601, "E-CTL-5", f'unknown method "{method}"')


EVENTS = [{"time_ms": AT_MS, "event": "network", "name": "office", "state": "degraded", "was": None, "generation": 3},
          {"time_ms": AT_MS + 250, "event": "peer", "name": "lap-mia", "state": "degraded", "was": "up", "generation": None},
          {"time_ms": AT_MS + 500, "event": "added", "name": "lap-joe", "state": "idle", "was": None, "generation": None},
          {"time_ms": AT_MS + 500, "event": "config", "name": "office", "state": None, "was": None, "generation": 4}]


def serve(connection, daemon):
    def say(**what):
        connection.sendall((json.dumps({"jsonrpc": "2.0", **what}) + "\n").encode())

    with connection, connection.makefile() as lines:
        for line in lines:
            ask = json.loads(line)
            params = ask.get("params") or {}
            try:
                say(id=ask["id"], result=daemon.answer(ask["method"], params))
            except Refused as refused:
                say(id=ask["id"], error=refused.answer)
            except ConnectionError:
                return
            except TimeoutError:
                continue
            if ask["method"] == "watch":
                say(method="watch", params={"events": EVENTS})
                return
            if ask["method"] == "log" and params.get("follow"):
                say(method="log", params={"lines": [{"time_ms": AT_MS + 9000, "level": "error", "text": "later"}]})
                return


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(16)
    print("READY", flush=True)
    daemon = Daemon(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], daemon), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
