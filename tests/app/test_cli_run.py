"""`coexist run` and its settings, as a person meets them: exit codes, sentences, files."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.processes import COEXIST, Process, Service, busy, coexist, environment, post, probe, settings_for

SECRET = "0123456789abcdef0123456789abcdef"
COMMANDS = (
    *("demo", "run", "sandbox", "trigger", "tail", "send", "version", "config", "numbers", "topics", "schemas"),
    "bench",
)


@pytest.fixture
def settings(tmp_path):
    return settings_for(tmp_path / "data")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_soon_after_it_was_asked_to(tmp_path, settings, number):
    with Service(settings, tmp_path) as service:
        service.in_service(probe())
        code, took_s = service.stop(number)
        assert code == 0
        assert took_s < 3 or busy()
        assert "Traceback" not in service.err.read_text()


def test_it_says_where_it_is_and_leaves_the_admin_address_in_the_data_folder(tmp_path, settings):
    settings["admin_port"] = settings["port"] = 0
    with Process([*COEXIST, "run"], tmp_path, "run", environment(**settings)) as process:
        process.until(lambda: "Ctrl-C stops" in process.err.read_text())
        told = process.err.read_text()
        assert "/webhooks/meta" in told
        assert ":0/" not in told
        assert coexist("numbers", "list", data_dir=settings["data_dir"]).returncode == 0
        assert oct((tmp_path / "data" / "coexist.db").stat().st_mode)[-2:] == "00"


def test_it_leaves_no_core_dump_behind(tmp_path, settings):
    with Service(settings, tmp_path) as service:
        service.ready()
        limits = Path(f"/proc/{service.popen.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)


def test_a_second_process_on_the_same_folder_ends_with_3(tmp_path, settings):
    with Service(settings, tmp_path) as service:
        service.ready()
        other = settings_for(tmp_path / "data")
        second = coexist("run", **other)
        assert second.returncode == 3
        assert str(service.popen.pid) in second.stderr
        assert "One process owns" in second.stderr
        assert post(service.webhook, probe()) == 200


@pytest.mark.parametrize("port", ["port", "admin_port"])
def test_a_port_that_is_taken_ends_it_with_2_and_names_the_port(settings, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings[port] = taken.getsockname()[1]
        result = coexist("run", **settings)
        assert result.returncode == 2
        assert str(settings[port]) in result.stderr
        assert "Traceback" not in result.stderr


def test_a_mistyped_setting_ends_it_with_2_and_names_the_right_one(settings):
    result = coexist("run", **settings, meta_app_secret=SECRET)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: COEXIST_META_APP_SECRET is not a setting. Did you mean COEXIST_META_APP_SECRETS?\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("port", "many", 'COEXIST_PORT must be a whole number, got "many".'),
        ("partitions", "0", "COEXIST_PARTITIONS cannot be used"),
        ("log_level", "loud", "COEXIST_LOG_LEVEL cannot be used"),
        ("timeline_raw", "perhaps", "COEXIST_TIMELINE_RAW must be 0 or 1"),
        ("meta_access_token_file", "/nowhere/token", "COEXIST_META_ACCESS_TOKEN_FILE names a file that cannot be read"),
    ],
)
def test_a_value_that_cannot_be_used_ends_it_with_2_and_one_sentence(tmp_path, name, value, said):
    result = coexist("run", "--check", cwd=tmp_path, meta_app_secrets=SECRET, **{name: value})
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {said}")
    assert result.stderr.count("\n") == 1


def test_without_an_app_secret_it_does_not_take_webhooks(tmp_path):
    result = coexist("run", cwd=tmp_path, data_dir=tmp_path)
    assert result.returncode == 2
    assert "COEXIST_META_APP_SECRETS is not set" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_partitions_than_the_folder_was_made_with_end_it_with_2(tmp_path, settings):
    with Service(settings, tmp_path) as service:
        service.ready()
        service.stop()
    result = coexist("run", **settings, partitions=7)
    assert result.returncode == 2
    assert "made with 12 partitions" in result.stderr


def test_settings_may_stand_in_dotenv_and_secrets_in_files(tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / ".env").write_text("# ours\nexport COEXIST_PARTITIONS='3'\nCOEXIST_META_APP_SECRETS_FILE=secret\n")
    checked = coexist("run", "--check", cwd=tmp_path, port=0, admin_port=0)
    assert checked.stdout.splitlines()[-1] == "The settings can be used."
    shown = coexist("config", cwd=tmp_path).stdout
    assert "COEXIST_PARTITIONS=3\n" in shown
    assert coexist("config", cwd=tmp_path, partitions=5).stdout.count("COEXIST_PARTITIONS=5\n") == 1
    (tmp_path / ".env").write_text("COEXIST_PARTITION=3\n")
    mistyped = coexist("config", cwd=tmp_path)
    assert (mistyped.returncode, "COEXIST_PARTITIONS?" in mistyped.stderr) == (2, True)


def test_config_masks_every_secret(tmp_path):
    given = {
        "meta_app_secrets": f"{SECRET},{SECRET}2",
        "meta_access_token": "the-access-token",
        "meta_verify_token": "the-verify-token",
        "admin_token": "the-admin-token",
    }
    result = coexist("config", cwd=tmp_path, **given)
    assert result.returncode == 0
    assert "COEXIST_META_ACCESS_TOKEN=********" in result.stdout
    assert not any(part in result.stdout for value in given.values() for part in value.split(","))


def test_a_role_that_is_none_ends_it_with_2(settings):
    result = coexist("run", "--roles", "ingest,sendr", **settings)
    assert (result.returncode, "sendr is not a role" in result.stderr) == (2, True)


def test_help_lists_every_command_at_once(tmp_path):
    took = []
    for _ in range(3):
        started = time.monotonic()
        result = coexist("--help", cwd=tmp_path)
        took.append(time.monotonic() - started)
    assert result.returncode == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)
    assert min(took) < 0.5 or busy()
    assert "\n  Try it:   coexist demo\n" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(tmp_path, command):
    result = coexist(command, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert os.linesep in result.stdout


def test_a_sandbox_on_a_taken_port_ends_with_2():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = coexist("sandbox", "--port", port)
        assert (result.returncode, str(port) in result.stderr) == (2, True)
