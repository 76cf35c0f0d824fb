"""Starts a real Apache Kafka 4.x (KRaft) from the jars that Maven fetched: JDK 17, no container, no network."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CLUSTER_ID = "Y29leGlzdC1rYWZrYS0wMQ"
STARTED = "Kafka Server started"
START_S = 90
PR_SET_PDEATHSIG = 1
PROPERTIES = """\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
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
"""
JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto")


def die_with_parent() -> None:
    """In a child before it begins: let Linux kill it when whoever started it is gone, however that ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class BrokerFailed(RuntimeError):
    """A broker did not start; the message ends with its log."""


class KafkaCluster:
    """Brokers of one cluster, each a process of its own that can be killed, frozen and started again."""

    def __init__(self, libs: Path, root: Path, nodes: int = 1) -> None:
        self._classpath = f"{libs}/*"
        self._root = root
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        ports = _free_ports(2 * nodes)
        self.ports = {node: ports[node - 1] for node in range(1, nodes + 1)}
        controllers = {node: ports[nodes + node - 1] for node in self.ports}
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in controllers.items())
        for node, port in self.ports.items():
            self._format(node, port, controllers[node], voters, nodes)

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, for a client."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

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
        """SIGSTOP: connections stay open and nothing answers."""
        self.processes[node].send_signal(signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """SIGCONT."""
        self.processes[node].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill every broker; the data is thrown away anyway."""
        for node in list(self.processes):
            self.kill(node)

    def _format(self, node: int, port: int, controller_port: int, voters: str, nodes: int) -> None:
        folder = self._folder(node)
        (folder / "data").mkdir(parents=True)
        properties = folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                id=node,
                voters=voters,
                port=port,
                controller_port=controller_port,
                data=folder / "data",
                replicas=min(3, nodes),
                in_sync=max(1, min(2, nodes - 1)),
            )
        )
        format_ = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
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


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
