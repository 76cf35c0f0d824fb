"""Image and compose files: right by their schema, hardened, and with commands that really start.

No registry is needed: what a container would be told is told to a process instead, its secrets as files.
"""

import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import check_jsonschema
import jsonschema
import pytest
import yaml

from schemas.topics import TOPICS
from services.app import ROLES
from services.sandbox.config import DEFAULT_SECRET, DEFAULT_TOKEN, DEFAULT_VERIFY_TOKEN
from tests.cluster.rig import Cluster
from tests.kafka.broker import postgres
from tests.processes import COEXIST, Process, busy, coexist, environment, free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "compose.kafka.yaml")
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
VALUES = {
    "app_secrets": DEFAULT_SECRET,
    "verify_token": DEFAULT_VERIFY_TOKEN,
    "access_token": DEFAULT_TOKEN,
    "admin_token": "t" * 32,
    "metrics_token": "m" * 32,
}


def compose(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def ours(name):
    """The services of a file that run our image."""
    return {key: service for key, service in compose(name)["services"].items() if service["image"] == "coexist"}


OURS = [pytest.param(name, key, id=f"{name}-{key}") for name in FILES for key in ours(name)]


# --- the image


def instructions():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_runs_as_nobody_in_particular_and_asks_itself_whether_it_is_ready():
    told = instructions()
    last = dict(told)
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == '["coexist"]'
    assert '"coexist", "ready"' in last["HEALTHCHECK"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert sum(word == "FROM" for word, _ in told) == 2
    assert not any(word == "ADD" or "curl" in rest for word, rest in told)


def test_every_package_in_the_image_is_pinned_by_its_hash():
    installs = [
        part for word, rest in instructions() if word == "RUN" for part in rest.split("&&") if "pip install" in part
    ]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install


def test_what_the_image_copies_is_what_the_builder_is_given():
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == given
    assert all((ROOT / name).exists() for name in copied)


def test_the_wheel_holds_the_program_with_its_pages_and_nothing_else(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {"services/console/index.html", "services/sandbox/page/index.html", "services/console/i18n/ca.json"} <= set(
        names
    )
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        *("schemas", "ingest", "echo_sync", "sender", "services")
    }


# --- the compose files


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_is_right_by_the_specification(name):
    jsonschema.validate(compose(name), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("name", FILES)
def test_whatever_a_compose_file_names_exists(name):
    told = compose(name)
    for service in told["services"].values():
        assert set(service.get("secrets", ())) <= set(told["secrets"])
        assert set(service.get("depends_on", ())) <= set(told["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in told["volumes"], volume
        image = service["image"]
        assert image == "coexist" or re.fullmatch(r"[a-z/]+:v?[0-9.]+", image), image


@pytest.mark.parametrize(("name", "key"), OURS)
def test_our_containers_may_do_nothing_that_they_need_not(name, key):
    service = ours(name)[key]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    if service["command" if "command" in service else "image"][0] == "run":
        assert service["mem_limit"]
    for variable, value in service.get("environment", {}).items():
        if any(word in variable for word in ("SECRET", "TOKEN", "DATABASE_URL", "PASSWORD")):
            assert variable.endswith("_FILE"), f"{variable} belongs into a file"
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_every_role_runs_in_the_cluster_and_prometheus_knows_each():
    roles = {
        service["command"][-1] for service in ours("compose.kafka.yaml").values() if service["command"][0] == "run"
    }
    assert roles == set(ROLES)
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in targets} == roles


def test_only_the_webhook_is_open_to_the_world():
    for name in FILES:
        for service in compose(name)["services"].values():
            for port in service.get("ports", ()):
                assert port == "8080:8080" or port.startswith("127.0.0.1:"), port


# --- the commands, as processes


class Container(Process):
    """A service of a compose file as a process: its command, its environment, its secrets, on ports of its own."""

    def __init__(self, service, folder, name, **more):
        secrets = folder / "secrets"
        secrets.mkdir(exist_ok=True)
        for secret, value in {**VALUES, **more.pop("secrets", {})}.items():
            (secrets / secret).write_text(value)
        told = {key.removeprefix("COEXIST_").lower(): value for key, value in service.get("environment", {}).items()}
        told = {key: value.replace("/run/secrets", str(secrets)) for key, value in told.items()}
        told |= {
            "data_dir": folder / name,
            "media_url": folder / "media",
            "admin_port": free_port(),
            "port": free_port(),
        }
        self.settings = told | {"host": "127.0.0.1", "meta_graph_url": "http://127.0.0.1:9"} | more
        command = [str(part) for part in service.get("command", ["run"])]
        super().__init__([*COEXIST, *command], folder, name, environment(**self.settings))

    def ready(self, wait_s=60):
        """What the health check of the image says."""
        return coexist("ready", "--wait", wait_s, timeout_s=wait_s + 10, **self.settings)


def test_the_embedded_container_starts_is_ready_and_stops_in_its_time(tmp_path):
    with Container(ours("compose.yaml")["coexist"], tmp_path, "coexist") as container:
        checked = container.ready()
        assert (checked.returncode, checked.stdout) == (0, "ready\n"), checked.stderr + container.err.read_text()
        code, seconds = container.stop(signal.SIGTERM)
        assert code == 0
        assert seconds < 10 or busy()


@pytest.mark.faults
@pytest.mark.kafka
async def test_the_cluster_s_containers_start_in_their_order_and_each_is_ready(tmp_path):
    postgres()
    services = ours("compose.kafka.yaml")
    cluster = Cluster()
    told = {name: value for name, value in cluster.settings.items() if name != "database_url"}
    told["secrets"] = {"database_url": cluster.url}
    for name in ("migrate", "topics"):
        with Container(services[name], tmp_path, name, **told) as job:
            assert job.popen.wait(60) == 0, job.err.read_text()
    async with cluster:
        made = (tmp_path / "topics.out").read_text()
        assert made.count("created") == len(TOPICS)
        workers = [name for name, service in services.items() if service["command"][0] == "run"]
        running = [Container(services[name], tmp_path, name, **told) for name in workers]
        try:
            for name, container in zip(workers, running, strict=True):
                checked = container.ready()
                assert checked.returncode == 0, f"{name}: {checked.stderr} {container.err.read_text()}"
            codes = {name: container.stop(signal.SIGTERM)[0] for name, container in zip(workers, running, strict=True)}
            assert set(codes.values()) == {0}, codes
        finally:
            for container in running:
                container.kill()
