"""Starts a real Apache Kafka 4.x (KRaft) from the jars that Maven fetched: JDK 17, no container, no network."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.kafka.links import CLIENTS, Links, address
from tests.processes import free_port

HERE = Path(__file__).parent
CLUSTER_ID = "Y29leGlzdC1rYWZrYS0wMQ"
STARTED = "Kafka Server started"
START_S = 90
PR_SET_PDEATHSIG = 1
PROPERTIES = """\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=CLIENTS://127.0.0.1:{port},BROKERS://127.0.0.1:{brokers},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://{client_host}:{port},BROKERS://{host}:{brokers},CONTROLLER://{host}:{controller}
listener.security.protocol.map=CLIENTS:{protocol},BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=500
log.index.size.max.bytes=1048576
log.retention.check.interval.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=1
{extra}
"""
JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")


def die_with_parent() -> None:
    """In a child before it begins: let Linux kill it when the thread that started it is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class BrokerFailed(RuntimeError):
    """A broker did not start; the message ends with its log."""


@dataclass(frozen=True)
class Security:
    """How clients speak to the brokers: the protocol, lines of the broker's settings, arguments of its format."""

    protocol: str = "PLAINTEXT"
    settings: str = ""
    format: tuple[str, ...] = ()


class KafkaCluster:
    """Brokers of one cluster, each a process of its own that can be killed, frozen and started again.

    With `cuttable`, everything that goes to a broker goes through `links`.
    """

    def __init__(
        self, libs: Path, root: Path, nodes: int = 1, *, cuttable: bool = False, security: Security = Security()
    ) -> None:
        self._classpath = f"{libs}/*"
        self._root = root
        self._cuttable = cuttable
        self._security = security
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.ports = {node: free_port() for node in range(1, nodes + 1)}
        self._inner = {node: (free_port(), free_port()) for node in self.ports}
        for node in self.ports:
            self._format(node)
        self.links = Links(self._links()) if cuttable else None

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, for a client."""
        return ",".join(f"{self._client_host(node)}:{port}" for node, port in self.ports.items())

    def _client_host(self, node: int) -> str:
        return address(CLIENTS, node) if self._cuttable else "127.0.0.1"

    def _host(self, node: int) -> str:
        return f"broker{node}" if self._cuttable else "127.0.0.1"

    def _links(self) -> list[tuple[int, int, int]]:
        inner = [(i, j, port) for i in self.ports for j in self.ports if i != j for port in self._inner[j]]
        return [(CLIENTS, node, port) for node, port in self.ports.items()] + inner

    def start(self, *nodes: int) -> None:
        """Start these brokers, or all; return once they serve. Raises BrokerFailed."""
        for node in nodes or self.ports:
            self._launch(node)
        for node in nodes or self.ports:
            self._await(node)

    def kill(self, node: int) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        process = self.processes.pop(node)
        process.kill()
        process.wait()

    def freeze(self, node: int) -> None:
        """SIGSTOP: connections stay open and, once this returns, nothing answers."""
        process = self.processes[node]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self, node: int) -> None:
        """SIGCONT."""
        self.processes[node].send_signal(signal.SIGCONT)

    def restart(self, node: int) -> None:
        """SIGTERM, which hands its partitions over first, and start it again."""
        process = self.processes.pop(node)
        process.terminate()
        process.wait(START_S)
        self.start(node)

    def stop(self) -> None:
        """Kill every broker; the data is thrown away anyway."""
        for node in list(self.processes):
            self.kill(node)
        if self.links is not None:
            self.links.close()
            self.links = None

    def _format(self, node: int) -> None:
        folder, nodes = self._folder(node), len(self.ports)
        (folder / "data").mkdir(parents=True)
        properties = folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                id=node,
                voters=",".join(f"{one}@{self._host(one)}:{ports[1]}" for one, ports in self._inner.items()),
                client_host=self._client_host(node),
                host=self._host(node),
                port=self.ports[node],
                brokers=self._inner[node][0],
                controller=self._inner[node][1],
                protocol=self._security.protocol,
                extra=self._security.settings,
                data=folder / "data",
                replicas=min(3, nodes),
                in_sync=max(1, min(2, nodes - 1)),
            )
        )
        hosts = [f"{address(node, one) if one != node else '127.0.0.1'} broker{one}\n" for one in self.ports]
        (folder / "hosts").write_text("".join(hosts))
        format_ = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties), *self._security.format]
        done = subprocess.run(
            ["java", *JVM, "-cp", self._classpath, *format_], capture_output=True, timeout=START_S, check=False
        )
        if done.returncode:
            raise BrokerFailed(done.stderr.decode(errors="replace")[-2000:])

    def _launch(self, node: int) -> None:
        folder = self._folder(node)
        log = folder / "server.log"
        if log.exists():
            log.rename(folder / f"server.{time.time_ns()}.log")
        with (folder / "out.log").open("ab") as out:
            self.processes[node] = subprocess.Popen(
                [
                    "java",
                    *JVM,
                    f"-Dkafka.logs.dir={folder}",
                    f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
                    "-Dlog4j2.disable.jmx=true",
                    *([f"-Djdk.net.hosts.file={folder / 'hosts'}"] if self._cuttable else []),
                    "-cp",
                    self._classpath,
                    "kafka.Kafka",
                    str(folder / "server.properties"),
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one call that takes no lock
            )

    def _await(self, node: int) -> None:
        log = self._folder(node) / "server.log"
        deadline = time.monotonic() + START_S
        while not (log.exists() and STARTED in log.read_text(errors="replace")):
            if self.processes[node].poll() is not None or time.monotonic() > deadline:
                told = log.read_text(errors="replace") if log.exists() else ""
                raise BrokerFailed((told + (self._folder(node) / "out.log").read_text(errors="replace"))[-3000:])
            time.sleep(0.05)

    def _folder(self, node: int) -> Path:
        return self._root / f"node{node}"
