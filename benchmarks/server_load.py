"""keras-emo serve under load over loopback: speed, overload, SIGTERM, memory.

python benchmarks/server_load.py [--clip CLIP] [--seconds 10] [--requests 5000] [--bundle DIR]

Clients are threads of this process, each with one persistent connection; they share the machine
with the service. Prints requests per second and latency at 1, 8 and 64 clients; with a short
queue, the percentage of status 503 and the time until the first success after the load; requests
lost by a SIGTERM under load. --requests sends that many requests of all kinds (valid, broken,
timelines) from 4 clients, and prints the resident memory of the service and its decoders.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from memory import draw_clip

BOUNDARY = "line"
KIND = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PREDICT = "/v1/predict"
GROWTH_AIM = 1.1  # peak of memory in the second half of the requests over that in the first


class Served:
    """A service in a process of its own."""

    def __init__(self, bundle: Path, queue: int):
        command = [sys.executable, "-m", "keras_emo", "serve", "--bundle", str(bundle),
                   "--port", "0", "--queue", str(queue)]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        while self.send("GET", "/v2/health/ready") != 200:
            time.sleep(0.1)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def send(self, method: str, path: str, body: bytes | None = None) -> int:
        connection = self.connect()
        try:
            return send(connection, method, path, body)
        finally:
            connection.close()

    def measure_mib(self) -> float:
        """Resident memory of the process and its children."""
        pids = [self.process.pid]
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            pids += [int(pid) for pid in task.read_text().split()]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in set(pids))
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@dataclass
class Tally:
    """Responses of all clients. lost: requests sent before stop_s without a response."""

    codes: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    stop_s: float = float("inf")
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, code: int, sent_s: float) -> None:
        with self.lock:
            self.codes[code] += 1
            if code == 200:
                self.latencies_s.append(time.perf_counter() - sent_s)


def send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> int:
    connection.request(method, path, body, KIND if body is not None else {})
    response = connection.getresponse()
    response.read()
    return response.status


def wrap(content: bytes) -> bytes:
    """A form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def load(served: Served, body: bytes, n_clients: int, until: Callable[[], bool]) -> Tally:
    """Clients that send the next request right after each response, until until() is true."""
    tally = Tally()
    threads = [threading.Thread(target=_send_repeatedly, args=(served, body, until, tally))
               for _ in range(n_clients)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def _send_repeatedly(served: Served, body: bytes, until: Callable[[], bool], tally: Tally) -> None:
    connection = served.connect()
    while not until():
        sent_s = time.perf_counter()
        try:
            code = send(connection, "POST", PREDICT, body)
        except (OSError, http.client.HTTPException):
            connection.close()
            tally.lost += sent_s < tally.stop_s
            return
        tally.note(code, sent_s)
        if code == 503:
            time.sleep(0.1)  # far sooner than Retry-After
    connection.close()


def measure_speed(bundle: Path, body: bytes, seconds: float) -> None:
    served = Served(bundle, queue=128)
    load(served, body, 2, _after(2.0))
    for n_clients in (1, 8, 64):
        start_s = time.perf_counter()
        tally = load(served, body, n_clients, _after(seconds))
        spent_s = time.perf_counter() - start_s
        half, most = np.percentile(tally.latencies_s, [50, 99]) * 1000
        print(f"{n_clients:3d} clients  {tally.codes[200] / spent_s:6.1f} requests/s  "
              f"p50 {half:.0f} ms  p99 {most:.0f} ms  {dict(tally.codes)}", flush=True)  # fmt: skip
    print(f"exit code {served.stop()}")


def measure_overload(bundle: Path, body: bytes, seconds: float) -> None:
    served = Served(bundle, queue=4)
    tally = load(served, body, 64, _after(seconds))
    start_s = time.perf_counter()
    while served.send("POST", PREDICT, body) != 200:
        time.sleep(0.01)
    refused = tally.codes[503] / tally.codes.total()
    print(f"overload    {refused:.0%} of {tally.codes.total()} responses are 503, "
          f"{dict(tally.codes)}; first success {time.perf_counter() - start_s:.2f} s "
          "after the load")  # fmt: skip
    print(f"exit code {served.stop()}")


def measure_stop(bundle: Path, body: bytes, seconds: float) -> int:
    served, tally = Served(bundle, queue=64), Tally()
    threads = [threading.Thread(target=_send_repeatedly, args=(served, body, _after(60), tally))
               for _ in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    time.sleep(min(seconds, 3.0))
    tally.stop_s = time.perf_counter()
    code = served.stop()
    for thread in threads:
        thread.join()
    print(
        f"SIGTERM     {dict(tally.codes)}, {tally.lost} sent before it and lost, exit code {code}"
    )
    return tally.lost or code


def measure_memory(bundle: Path, content: bytes, n_requests: int) -> int:
    kinds = [(PREDICT, wrap(content)), (f"{PREDICT}?parts=true", wrap(content)),
             (f"{PREDICT}?timeline=true", wrap(content)), (PREDICT, wrap(content[:5000])),
             (PREDICT, wrap(b"nonsense"))]  # fmt: skip
    served, numbers, codes = Served(bundle, queue=8), itertools.count(), Counter()
    memory_mib: list[float] = []

    def work() -> None:
        connection = served.connect()
        while (number := next(numbers)) < n_requests:
            path, body = kinds[number % len(kinds)]
            codes[send(connection, "POST", path, body)] += 1
            if number % max(1, n_requests // 20) == 0:
                # less than before: a decoder is just being replaced
                memory_mib.append(served.measure_mib())
                print(f"{number:6d} requests  {memory_mib[-1]:.0f} MiB", flush=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory_mib.append(served.measure_mib())
    half = len(memory_mib) // 2
    ratio = max(memory_mib[half:]) / max(memory_mib[:half])
    print(f"{n_requests} requests  ratio {ratio:.3f}, aim at most {GROWTH_AIM}  {dict(codes)}")
    print(f"exit code {served.stop()}")
    return int(ratio > GROWTH_AIM)


def _after(seconds: float) -> Callable[[], bool]:
    end_s = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, help="default: one of the demo corpus")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument(
        "--requests", type=int, default=0, help="measure memory with so many; 0: skip"
    )
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = (options.clip or draw_clip(Path(folder))).read_bytes()
    if options.requests:
        return measure_memory(options.bundle, content, options.requests)
    measure_speed(options.bundle, wrap(content), options.seconds)
    measure_overload(options.bundle, wrap(content), options.seconds)
    return int(measure_stop(options.bundle, wrap(content), options.seconds) != 0)


if __name__ == "__main__":
    sys.exit(main())
