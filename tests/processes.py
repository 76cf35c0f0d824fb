"""`coexist` as separate processes: a clean environment, ready when the address answers, ended by signals."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from services.sandbox.config import DEFAULT_SECRET, DEFAULT_TOKEN, DEFAULT_VERIFY_TOKEN
from services.sandbox.triggers import trigger_body
from services.sandbox.wire import sign

COEXIST = (sys.executable, str(Path(sys.executable).with_name("coexist")))
COEXIST_FROM = (sys.executable, "-P", "-c", "from services.cli import main; main()")
"""The same from another source tree, which PYTHONPATH names."""
START_S = 60
STOP_S = 60
"""Deadlines for what must come at all: a busy machine takes its time. What is promised is asserted where it is told."""
LOOK_S = 0.01
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to whoever does not care, so nobody gets one between two lives of a process."""
BUSY = 1.5
"""Processes per core that want to run, beyond which a time measures the others and not us."""

SANDBOX_OF_MANY = """
import asyncio, sys
from services.sandbox.app import serve
from services.sandbox.config import SandboxConfig, make_numbers
port, seed, numbers, url = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
asyncio.run(serve(SandboxConfig(port=port, seed=seed, numbers=make_numbers(numbers), webhook_url=url)))
"""


_taken = []


def free_port():
    """A port that nobody listens on, and that nobody else is given as long as this process lives.

    Its UDP twin is held, which says so to the other runs of tests on this machine.
    """
    dice = random.SystemRandom()
    while True:
        port, mark = dice.choice(PORTS), socket.socket(type=socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("0.0.0.0", port))
        except OSError:
            mark.close()
        else:
            _taken.append(mark)
            return port


def busy():
    """Whether the machine has no time for us."""
    return os.getloadavg()[0] > BUSY * os.cpu_count()


def environment(**settings):
    """The environment without settings of the person who runs the tests, and with these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COEXIST_")}
    return clean | {f"COEXIST_{name.upper()}": str(value) for name, value in settings.items()}


def settings_for(folder, graph_url="http://127.0.0.1:9", **more):
    """The settings of a service in `folder` on two free ports, with the sandbox's secrets."""
    return {
        "data_dir": folder,
        "host": "127.0.0.1",
        "port": free_port(),
        "admin_port": free_port(),
        "meta_app_secrets": DEFAULT_SECRET,
        "meta_verify_token": DEFAULT_VERIFY_TOKEN,
        "meta_access_token": DEFAULT_TOKEN,
        "meta_graph_url": graph_url,
        "automatic_within_s": 0,  # in tests people answer at once
        "log_level": "warning",
        **more,
    }


def coexist(*arguments, cwd=None, timeout_s=START_S, **settings):
    """Run a command to its end: exit code, standard output and standard error as text."""
    return subprocess.run(
        [*COEXIST, *map(str, arguments)],
        env=environment(**settings),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Process:
    """One process. What it writes goes to `out` and `err`, files that outlive it."""

    def __init__(self, command, folder, name, env, cwd=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        self.started = time.monotonic()
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.popen = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """SIGKILL; nothing of it is left when this returns."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait(STOP_S)

    def stop(self, number=signal.SIGINT):
        """Ask it to end; its exit code, and the seconds that took."""
        asked = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(STOP_S)
        return code, time.monotonic() - asked

    def until(self, check, deadline_s=START_S):
        """What `check` returned once that was true; an error of the connection counts as not yet."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if found := check():
                    return found
            if self.popen.poll() is not None:
                raise AssertionError(f"it ended with {self.popen.returncode}: {self.err.read_text()[-2000:]}")
            time.sleep(LOOK_S)
        raise AssertionError(f"not within {deadline_s} s: {self.err.read_text()[-2000:]}")


def of_source(source, **settings):
    """How `coexist` of another source tree is started: the command and its environment."""
    return COEXIST_FROM, environment(**settings) | {"PYTHONPATH": str(source)}


class Service(Process):
    """`coexist run` with settings from `settings_for`; started again on the same settings it is the same service.

    `source`: the tree of another version, which runs in place of the one that is tested.
    """

    def __init__(self, settings, folder, *arguments, name="service", client=None, source=None):
        self.admin = f"http://127.0.0.1:{settings['admin_port']}"
        self.webhook = f"http://127.0.0.1:{settings['port']}/webhooks/meta"
        self.client = client or httpx
        command, env = (COEXIST, environment(**settings)) if source is None else of_source(source, **settings)
        super().__init__([*command, "run", *arguments], folder, name, env)

    def ready(self):
        """Wait for /readyz; self."""
        self.until(lambda: self.client.get(f"{self.admin}/readyz").status_code == 200)
        return self

    def in_service(self, body):
        """Wait until it is ready and has taken `body` as a webhook; the seconds since it was started."""
        self.ready()
        self.until(lambda: post(self.webhook, body, self.client) == 200)
        return time.monotonic() - self.started


class Sandbox(Process):
    """Meta in a box with some numbers, on a free port."""

    def __init__(self, folder, webhook_url, *, seed=7, numbers=1):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-c", SANDBOX_OF_MANY, str(self.port), str(seed), str(numbers), webhook_url]
        super().__init__(command, folder, "sandbox", environment(), cwd=Path(__file__).parents[1])
        self.client = httpx.Client(base_url=f"{self.url}/sandbox/api", timeout=60, trust_env=False)
        try:
            self.until(lambda: self.client.get("/numbers").status_code == 200)
        except BaseException:
            self.kill()
            raise

    def kill(self):
        """See `Process.kill`."""
        self.client.close()
        super().kill()

    def call(self, method, path, body=None):
        """The JSON of a control call."""
        answer = self.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        if "ndjson" in answer.headers.get("content-type", ""):
            return [httpx.Response(200, content=line).json() for line in answer.content.splitlines() if line]
        return answer.json() if answer.content else None


def post(url, body, client=httpx, secret=DEFAULT_SECRET):
    """Send a webhook as Meta would; the status of the answer."""
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(body, secret.encode())}
    return client.post(url, content=body, headers=headers, timeout=10).status_code


def probe(name="message", **about):
    """A signed webhook's body of one item, with a message id of its own."""
    return trigger_body(name, **about)
