"""The kubelet beside an attack: a program that probes at a steady rate, each time on a new connection, and prints each verdict.

`python prober.py PORT`, with options below. One line of JSON for each probe, in the order of their ends: when it began, what came
back (a status, or why there was none) and how long it took. Ends with its standard input. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time


def probe(options: argparse.Namespace) -> int | str:
    """Probe once; return the status, or why there is none."""
    end = time.monotonic() + options.timeout
    fields = ["Host: pod", "User-Agent: kube-probe/1.36", "Accept: */*", *options.header, "Connection: close"]
    request = "\r\n".join([f"GET {options.path} HTTP/1.1", *fields, "", ""])
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", options.port), options.timeout, (options.source, 0)) as sock:
            sock.sendall(request.encode())
            while True:
                sock.settimeout(max(end - time.monotonic(), 0.001))
                data = sock.recv(65536)
                if not data:
                    break
                answer += data
    except OSError as error:
        return type(error).__name__
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else "EOF"


def main() -> None:
    """Probe until nobody wants to know any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one probe to the next")
    parser.add_argument("--source", default="127.0.0.1", help="address to come from")
    parser.add_argument("--path", default="/healthy")
    parser.add_argument("--header", action="append", default=[], help="a header line of its own")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds for the whole exchange, as `timeoutSeconds`")
    options = parser.parse_args()
    printing = threading.Lock()
    stop = threading.Event()

    def once() -> None:
        began = time.monotonic()
        said = probe(options)
        with printing:
            print(json.dumps([began, said, time.monotonic() - began]), flush=True)

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    probes = []
    while not stop.wait(options.every):
        probes.append(threading.Thread(target=once))  # the next one does not wait for it
        probes[-1].start()
    for thread in probes:
        thread.join()


if __name__ == "__main__":
    main()
