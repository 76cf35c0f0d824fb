"""What the bench stands on: pinned processes, services on empty folders, and the load client's answer."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.bench.bodies import SECRET, VERIFY_TOKEN
from services.bench.load import Load, Plan
from services.edge import listen

START_S = 20.0
STOP_S = 10.0
POLL_S = 0.002


class BenchFailed(Exception):
    """A process of the bench did not do its part; the message says which."""


def cores() -> tuple[int, int]:
    """The core of what is measured and the core of whoever loads it; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def spawn(
    arguments: list[str], core: int, environment: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.Popen[str]:
    """Start a Python process on one core, in a folder. What it prints on standard output is its result."""
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, *arguments],
        env={**plain_environment(), **(environment or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(process.pid, {core})
    return process


def plain_environment() -> dict[str, str]:
    """The environment without settings: what the user runs elsewhere must not be touched."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COEXIST_")}


def result(arguments: list[str], core: int, timeout_s: float = 300.0) -> Any:
    """The JSON that a module prints. Raises BenchFailed when it ends badly."""
    process = spawn(["-m", *arguments], core)
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise BenchFailed(f"{arguments[0]} {arguments[1][:20]} ended with {process.returncode}")
    return json.loads(out)


def load(plan: Plan) -> Load:
    """Send a plan from the other core. Raises BenchFailed when anything was refused."""
    limit_s = plan.warm_s + plan.seconds + 60
    answer = Load(**result(["services.bench.load", json.dumps(asdict(plan))], cores()[1], limit_s))
    if answer.refused:
        raise BenchFailed(f"{answer.refused} webhooks were not answered 200")
    return answer


@contextmanager
def listening(module: str, name: str, core: int) -> Iterator[int]:
    """A module's process of that name, which listens: its port."""
    port = free_port()
    process = spawn(["-m", module, name, str(port)], core)
    try:
        await_answer(process, f"http://127.0.0.1:{port}/", any_status=True)
        yield port
    finally:
        stop(process)


@dataclass
class Service:
    """A service process and where it listens."""

    process: subprocess.Popen[str]
    port: int
    admin_port: int

    @property
    def rss_mib(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return float(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def cpu_s(self) -> float:
        """What it has worked so far, in seconds of a core."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over its labels."""
        text = fetch(f"http://127.0.0.1:{self.admin_port}/metrics")
        lines = (line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        """End it as a loss of power to the process would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def service(
    folder: Path, roles: str, *, watch: bool = False, core: int | None = None, more: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """`coexist run`, or the same with a subscriber inside (`watch`), ready, on one core. `more`: further settings."""
    found = start(folder, roles, watch=watch, core=core, more=more)
    try:
        yield found
    finally:
        stop(found.process)


def start(
    folder: Path, roles: str, *, watch: bool = False, core: int | None = None, more: Mapping[str, str] | None = None
) -> Service:
    """Start a service and return once it is ready."""
    ports = free_port(), free_port()
    given = {
        "COEXIST_DATA_DIR": str(folder),
        "COEXIST_HOST": "127.0.0.1",
        "COEXIST_PORT": str(ports[0]),
        "COEXIST_ADMIN_PORT": str(ports[1]),
        "COEXIST_META_APP_SECRETS": SECRET,
        "COEXIST_META_VERIFY_TOKEN": VERIFY_TOKEN,
        "COEXIST_META_GRAPH_URL": "http://127.0.0.1:9",
        "COEXIST_LOG_LEVEL": "error",
        **(more or {}),
    }
    arguments = ["-m", "services.bench.service", "watch"] if watch else ["-c", RUN, "run"]
    process = spawn([*arguments, "--roles", roles], cores()[0] if core is None else core, given, folder)
    try:
        await_answer(process, f"http://127.0.0.1:{ports[1]}/readyz")
    except BaseException:
        stop(process)
        raise
    return Service(process, *ports)


RUN = "from services.cli import main; main()"
"""The program that `coexist` is, wherever its script was installed."""


def stop(process: subprocess.Popen[str]) -> str:
    """Ask for the end, wait for it, and return what was printed."""
    if process.poll() is None:
        process.terminate()
    try:
        out, _ = process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    return out


def await_answer(process: subprocess.Popen[str], url: str, *, any_status: bool = False) -> None:
    """Wait until something answers 200 (or at all). Raises BenchFailed when the process ends or takes too long."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise BenchFailed(f"a process of the bench ended with {process.returncode} before it listened")
        try:
            fetch(url)
        except urllib.error.HTTPError:
            if any_status:
                return
        except OSError:
            pass
        else:
            return
        time.sleep(POLL_S)
    raise BenchFailed("a process of the bench did not listen in time")


def fetch(url: str) -> str:
    """A page of loopback as text."""
    with _DIRECT.open(url, timeout=5) as answer:
        return str(answer.read().decode())


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    listener = listen("127.0.0.1", 0)
    port: int = listener.getsockname()[1]
    listener.close()
    return port
