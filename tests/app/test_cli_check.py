"""`coexist run --check`: everything that would keep the service from starting, with what to do about it."""

import asyncio
import fcntl
import os
import socket
from base64 import b64encode
from functools import partial

import apsw
import httpx
import pytest
import structlog
from click.testing import CliRunner

from services.app import open_app
from services.cli import main
from services.relays.target import is_own
from services.settings import SettingsError, load
from services.telemetry.tracing import tracing_of
from tests.app.rig import service, until
from tests.app.rig import settings as app_settings
from tests.processes import environment, free_port, settings_for

KEY = b64encode(os.urandom(32)).decode()


def check(folder, *arguments, **more):
    """Exit code and output of a check with settings that can be used, but for `more`."""
    given = {**settings_for(folder / "data"), "port": 0, "admin_port": 0, **more}
    result = CliRunner().invoke(main, ["run", "--check", *arguments], env=environment(**given))
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_what_can_be_used_is_said_to_be_and_nothing_is_left_behind(tmp_path):
    code, output = check(tmp_path)
    assert (code, output.splitlines()[-1]) == (0, "The settings can be used.")
    assert "✗" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_or_written_is_2(tmp_path):
    (tmp_path / "data").write_text("a file")
    code, output = check(tmp_path)
    assert (code, "✗ data folder" in output, "COEXIST_DATA_DIR" in output) == (2, True, True)
    code, output = check(tmp_path, data_dir="/proc/nowhere")
    assert (code, "✗ data folder" in output) == (2, True)


async def test_a_folder_in_use_is_3_and_names_the_process_that_has_it(tmp_path):
    async with service(tmp_path / "data"):
        code, output = await asyncio.to_thread(check, tmp_path, partitions=2)
        assert (code, f"process {os.getpid()}" in output) == (3, True)
    assert (await asyncio.to_thread(check, tmp_path, partitions=2))[0] == 0
    assert (await asyncio.to_thread(check, tmp_path, partitions=3))[0] == 2


def test_a_check_takes_nobody_the_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").write_text("")
    assert check(tmp_path)[0] == 0
    with (tmp_path / "data" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("ledger", ["file/erasures.jsonl", "missing/erasures.jsonl", "folder"])
async def test_a_ledger_of_erasures_that_cannot_be_written_is_2_and_stops_the_start(tmp_path, ledger):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder").mkdir()
    about = {"erasure_ledger": tmp_path / ledger}
    code, output = await asyncio.to_thread(partial(check, tmp_path, **about))
    assert (code, "✗ erasure ledger" in output, "COEXIST_ERASURE_LEDGER cannot be" in output) == (2, True, True)
    with pytest.raises(SettingsError, match="COEXIST_ERASURE_LEDGER cannot be written"):
        async with open_app(app_settings(tmp_path / "data", **about)):
            pass


@pytest.mark.parametrize("ledger", ["new.jsonl", "data/new.jsonl", "old.jsonl"])
def test_a_ledger_that_can_be_written_stays_as_it_is(tmp_path, ledger):
    (tmp_path / "old.jsonl").write_text("{}\n")
    assert check(tmp_path, erasure_ledger=tmp_path / ledger)[0] == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.jsonl", "{}\n")]


def test_a_damaged_file_is_2(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "coexist.db").write_bytes(b"no database at all" * 1000)
    code, output = check(tmp_path)
    assert (code, "✗ data file" in output, "backup" in output) == (2, True, True)


@pytest.mark.parametrize("name", ["port", "admin_port"])
def test_a_port_that_is_taken_is_2_and_named_by_its_setting(tmp_path, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = check(tmp_path, **{name: taken.getsockname()[1]})
        assert (code, f"(COEXIST_{name.upper()})" in output) == (2, True)


def test_one_port_for_both_listeners_and_an_address_of_another_machine_are_2(tmp_path):
    port = free_port()
    assert check(tmp_path, port=port, admin_port=port)[0] == 2
    for host in ("192.0.2.1", "no.such.host.invalid"):
        code, output = check(tmp_path, host=host)
        assert (code, "✗ public port" in output, host in output) == (2, True, True)


def test_an_admin_listener_for_everybody_needs_a_token(tmp_path):
    code, output = check(tmp_path, admin_host="0.0.0.0")
    assert (code, "COEXIST_ADMIN_TOKEN must be set" in output) == (2, True)
    assert check(tmp_path, admin_host="0.0.0.0", admin_token="a" * 64)[0] == 0


def test_a_short_app_secret_is_worth_a_thought_and_no_refusal(tmp_path):
    code, output = check(tmp_path, meta_app_secrets="too-short,0123456789abcdef0123456789abcdef")
    assert (code, "1 of COEXIST_META_APP_SECRETS has fewer than the 32" in output) == (0, True)


def test_without_an_app_secret_only_ingest_is_refused(tmp_path):
    code, output = check(tmp_path, meta_app_secrets="")
    assert (code, "COEXIST_META_APP_SECRETS is not set" in output) == (2, True)
    assert check(tmp_path, "--roles", "sender", meta_app_secrets="")[0] == 0


def test_an_empty_verify_token_is_2_and_none_is_worth_a_thought(tmp_path):
    refused = CliRunner().invoke(main, ["run", "--check"], env=environment(meta_verify_token=""))
    assert (refused.exit_code, "COEXIST_META_VERIFY_TOKEN must not be empty" in refused.output) == (2, True)
    without = {**settings_for(tmp_path / "data"), "port": 0, "admin_port": 0}
    del without["meta_verify_token"]
    result = CliRunner().invoke(main, ["run", "--check"], env=environment(**without))
    assert (result.exit_code, "Meta's handshake is refused until" in result.output) == (0, True)
    assert "verify token                 set" in check(tmp_path)[1]


def unkeyed(folder):
    """Code and output of a check without an access token of the installation."""
    given = {**settings_for(folder / "data"), "port": 0, "admin_port": 0, "partitions": 2}
    del given["meta_access_token"]
    result = CliRunner().invoke(main, ["run", "--check"], env=environment(**given, encryption_keys=KEY))
    return result.exit_code, result.output


async def test_it_is_said_for_how_many_numbers_there_is_an_access_token(tmp_path):
    code, output = await asyncio.to_thread(unkeyed, tmp_path)
    assert (code, "not set; what a number without one sends is rejected (no_token)" in output) == (0, True)
    keyless = {"meta_access_token": None, "encryption_keys": KEY}
    async with service(tmp_path / "data", about=keyless) as rig:
        for number in ("111", "222"):
            await rig.admin.post("/v1/numbers", json={"number": number, "token": f"EAA{number}"})
        await rig.admin.post("/v1/numbers", json={"number": "333"})
        await until(lambda: knows(rig, 3))
    code, output = await asyncio.to_thread(unkeyed, tmp_path)
    assert (code, "for 2 of 3 known numbers" in output, "coexist numbers add 333 " in output) == (0, True, True)
    keyed = {"partitions": 2, "encryption_keys": KEY}
    code, output = await asyncio.to_thread(partial(check, tmp_path, **keyed))
    assert (code, "for 3 of 3 known numbers, 2 with their own" in output, "EAA" in output) == (0, True, False)
    _, output = await asyncio.to_thread(partial(check, tmp_path, "--roles", "ingest", **keyed))
    assert "access tokens" not in output


async def knows(rig, count):
    return len((await rig.admin.get("/v1/numbers")).json()["numbers"]) == count


def test_a_cluster_that_does_not_answer_is_said_so_within_seconds(tmp_path):
    pytest.importorskip("aiokafka")
    pytest.importorskip("asyncpg")
    nobody = f"127.0.0.1:{free_port()}"
    url = f"postgresql://me:hunter2@{nobody}/coexist"
    code, output = check(tmp_path, kafka_bootstrap_servers=nobody, database_url=url)
    assert (code, "✗ Kafka" in output, "✗ Postgres" in output) == (2, True, True)
    assert "hunter2" not in output
    code, output = check(tmp_path, kafka_bootstrap_servers=nobody)
    assert (code, "half of it is set" in output) == (2, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_TOKEN", "sécret-token"),
        ("ADMIN_TOKEN", ""),
        ("ADMIN_TOKEN", "two words"),
        ("META_ACCESS_TOKEN", "EAA…"),
        ("META_VERIFY_TOKEN", ""),
        ("META_VERIFY_TOKEN", " "),
        ("META_GRAPH_URL", "graph.facebook.com"),
        ("META_GRAPH_URL", "https://"),
        ("META_GRAPH_URL", "https://graph facebook.com"),
        ("ADMIN_URL", "http://127.0.0.1:99999"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        ("TRUSTED_PROXIES", "-1"),
        ("META_GRAPH_VERSION", ""),
        ("META_GRAPH_VERSION", "24.0"),
        ("META_GRAPH_VERSION", "v24"),
        ("META_GRAPH_VERSION", "v24.0/"),
        ("RELAY_HOSTS", "https://crm.internal"),
        ("RELAY_HOSTS", "crm.internal/hook"),
        ("RELAY_HOSTS", "crm.internal:port"),
        ("RELAY_HOSTS", "crm.internal:0"),
        ("RELAY_HOSTS", "crm.internal,*.internal"),
        ("RELAY_HOSTS", "[::1]:8080"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name_and_no_secret_is_quoted(tmp_path, name, value):
    with pytest.raises(SettingsError) as refused:
        load({f"COEXIST_{name}": value}, tmp_path / "none")
    assert str(refused.value).startswith(f"COEXIST_{name} ")
    assert (value in str(refused.value)) == ("TOKEN" not in name or not value.strip())


def test_a_secret_is_never_quoted_whatever_its_name(tmp_path):
    with pytest.raises(SettingsError) as refused:
        load({}, tmp_path / "none", database_url=["hunter2"])
    assert "hunter2" not in str(refused.value)


def test_values_that_can_work_are_taken(tmp_path):
    for url in ("", "http://[::1]:8081", "https://host/path", "http://127.0.0.1:9"):
        assert load({"COEXIST_ADMIN_URL": url}, tmp_path / "none").admin_url == url
    servers = "kafka-1:9092, kafka-2:9092,[::1]:9092"
    assert load({"COEXIST_KAFKA_BOOTSTRAP_SERVERS": servers}, tmp_path / "none").kafka_bootstrap_servers == servers


def test_hosts_of_relays_are_compared_as_addresses_are(tmp_path):
    given = "crm.internal, CRM.internal:8443,10.0.0.7:9,::1,my_app"
    hosts = load({"COEXIST_RELAY_HOSTS": given}, tmp_path / "none").relay_hosts
    assert hosts == ["crm.internal", "crm.internal:8443", "10.0.0.7:9", "::1", "my_app"]
    assert is_own(httpx.URL("https://Crm.Internal:8443/x"), hosts)
    assert is_own(httpx.URL("http://[::1]:7/x"), hosts)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_a_collector_without_a_scheme_is_2_and_not_quoted(tmp_path, name):
    given = environment(**{**settings_for(tmp_path / "data"), "port": 0, "admin_port": 0})
    result = CliRunner().invoke(main, ["run", "--check"], env=given | {name: "k3y@collector:4318"})
    assert (result.exit_code, f"{name} must be an address like http://" in result.output) == (2, True)
    assert "k3y" not in result.output
    with pytest.raises(SettingsError, match=name):
        tracing_of({name: "k3y@collector:4318"}, "sqlite", "coexist")


def test_the_version_of_sqlite_is_looked_at(tmp_path):
    assert apsw.sqlite_lib_version() in check(tmp_path)[1]


@pytest.mark.parametrize(("secret", "warnings"), [("too-few", 1), ("0123456789abcdef0123456789abcdef", 0)])
async def test_the_service_starts_with_a_short_secret_and_warns(tmp_path, secret, warnings):
    with structlog.testing.capture_logs() as lines:
        async with open_app(app_settings(tmp_path, meta_app_secrets=secret), ["ingest"]):
            pass
    assert [line["log_level"] for line in lines if line["event"] == "app_secret_short"] == ["warning"] * warnings
    assert secret not in str(lines)
