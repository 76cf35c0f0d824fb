"""The load client of the bench: keep-alive connections in one process of its own, for floor and figure alike.

Closed loop: every connection sends its next webhook when the last was answered. Open loop, with a rate: webhooks leave
when they are due, and their time counts from then, so a server that stalls cannot hide it. One thread on raw sockets,
because a client that is slower than the server would measure itself.
"""

import json
import select
import socket
import sys
import time
from array import array
from collections import deque
from dataclasses import asdict, dataclass

from services.bench.bodies import Workload

RECEIVE_BYTES = 65_536
ANSWER_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `rate_per_s` 0 is a closed loop; `requests_max` 0 is no limit but the time.

    `first`: the index of the first webhook, so that no two plans of one service send the same message.
    """

    port: int
    workload: Workload
    connections: int = 64
    warm_s: float = 0.5
    seconds: float = 3.0
    rate_per_s: float = 0
    requests_max: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What came back: answers of 200 in the measured time, others, the times from sent to answered, and our own load.

    `busy`: the share of its core that the client needed; near 1 the client was what was measured.
    """

    answered: int
    refused: int
    seconds: float
    p50_ms: float
    p99_ms: float
    busy: float
    sent: int

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.answered / self.seconds if self.seconds else 0.0


class Client:
    """The connections, the clock of the plan, and what has been measured so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next = plan.first
        self._epoll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._sent_at: dict[int, float] = {}
        self._idle: deque[int] = deque()
        self._partial: dict[int, bytes] = {}
        self._times = array("d")
        self._refused = 0
        for _ in range(plan.connections):
            connection = socket.create_connection(("127.0.0.1", plan.port), ANSWER_S_MAX)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            self._idle.append(connection.fileno())

    def run(self) -> Load:
        """Send the plan. Raises ConnectionError when the server hangs up, TimeoutError when it falls silent."""
        started = time.perf_counter()
        measured_from = started + self._plan.warm_s
        if self._plan.warm_s:
            self._until(measured_from, started)
            self._times = array("d")
        used, began = time.process_time(), time.perf_counter()
        self._until(began + self._plan.seconds, began)
        took = time.perf_counter() - began
        busy = (time.process_time() - used) / took
        answered = len(self._times)
        self._finish()
        ordered = sorted(self._times)
        return Load(
            answered,
            self._refused,
            took,
            percentile(ordered, 0.50) * 1000,
            percentile(ordered, 0.99) * 1000,
            busy,
            self._next - self._plan.first,
        )

    def _until(self, end: float, began: float) -> None:
        sent_before = self._next
        while (now := time.perf_counter()) < end and not self._is_complete():
            wait = end - now
            while self._idle and not self._is_spent():
                due = began + (self._next - sent_before) / self._plan.rate_per_s if self._plan.rate_per_s else now
                if due > now:
                    wait = min(wait, due - now)
                    break
                self._send(self._idle.popleft(), due)
            self._receive(wait)

    def _is_spent(self) -> bool:
        limit = self._plan.requests_max
        return bool(limit) and self._next - self._plan.first >= limit

    def _is_complete(self) -> bool:
        return self._is_spent() and not self._sent_at

    def _send(self, file: int, due: float) -> None:
        request = self._plan.workload.request(self._next)
        self._next += 1
        self._sent_at[file] = due if self._plan.rate_per_s else time.perf_counter()
        self._open[file].sendall(request)

    def _receive(self, wait_s: float) -> None:
        for file, _ in self._epoll.poll(wait_s):
            data = self._partial.pop(file, b"") + self._open[file].recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionError("the server hung up")
            if not is_whole(data):
                self._partial[file] = data
                continue
            if data.startswith(b"HTTP/1.1 200"):
                self._times.append(time.perf_counter() - self._sent_at.pop(file))
            else:
                self._refused += 1
                self._sent_at.pop(file)
            self._idle.append(file)

    def _finish(self) -> None:
        """Wait for what is still under way, so that the next plan meets a quiet server."""
        give_up = time.perf_counter() + ANSWER_S_MAX
        while self._sent_at:
            if time.perf_counter() > give_up:
                raise TimeoutError("the server does not answer")
            self._receive(1.0)
        for connection in self._open.values():
            connection.close()


def is_whole(data: bytes) -> bool:
    """Whether an HTTP answer has come completely."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    _, told, rest = head.lower().partition(b"content-length:")
    return not told or len(body) >= int(rest.split(b"\r\n", 1)[0])


def percentile(ordered: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 where there is none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    """Read a plan as JSON from the first argument, send it, and print what came back as JSON."""
    wanted = json.loads(sys.argv[1])
    plan = Plan(**{**wanted, "workload": Workload(**wanted["workload"])})
    print(json.dumps(asdict(Client(plan).run())))


if __name__ == "__main__":
    main()
