"""What a newcomer gets wrong: every mistake is one sentence with an exit code, never a traceback."""

import asyncio
import contextlib
import http.server
import threading

import click
import pytest
from click.testing import CliRunner

from services.cli import Plainly, main
from services.settings import SettingsError, load
from tests.app.rig import service
from tests.processes import coexist, environment, settings_for


def run(*arguments, **given):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment(**given))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


SEND = ("send", "--number", "1", "--to", "34600111222", "--text", "x")


@pytest.mark.parametrize(
    "arguments",
    [
        (*SEND, "--wait", "-1"),
        (*SEND, "--wait", "nan"),
        (*SEND, "--wait", "inf"),
        ("send", "--number", "abc", "--to", "34600111222", "--text", "x"),
        ("trigger", "message", "--duplicate", "-3"),
        ("trigger", "message", "--number", "abc"),
        ("trigger", "message", "--contact", "Laia"),
        ("trigger", "message", "--to-url", "localhost:8080"),
        ("tail", "timeline", "--number", "abc"),
        ("numbers", "add", "../pause"),
        ("numbers", "show", "12/34"),
        ("demo", "--seconds", "-1"),
        ("demo", "--seconds", "0"),
        ("demo", "--seconds", "nan"),
        ("demo", "--rate", "0"),
        ("demo", "--rate", "-4"),
        ("demo", "--rate", "1e9"),
        ("sandbox", "--talk", "-1"),
        ("sandbox", "--seed", 2**200),
        ("sandbox", "--webhook-url", "nonsense"),
        ("bench", "--events", "-1"),
        ("doctor", "--webhook-url", "nonsense"),
        ("onboard", "--waba", "abc"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments))[:60],
)
def test_a_value_that_means_nothing_is_2_before_anything_begins(tmp_path, arguments):
    code, output = run(*arguments, data_dir=tmp_path / "none")
    assert code == 2
    assert "Error: Invalid value" in output
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("more", [("--rate", 3), ("--rate", 8), ("--seconds", 5)])
def test_a_story_takes_no_rate_and_no_length(more):
    code, output = run("demo", "--scenario", "campaign", *more)
    assert (code, "without --rate and --seconds" in " ".join(output.split())) == (2, True), output


def test_a_data_folder_that_cannot_be_made_is_2_and_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    result = coexist("run", **settings_for(tmp_path / "file" / "inside"))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "cannot be the data folder" in result.stderr
    assert "COEXIST_DATA_DIR" in result.stderr


def test_a_damaged_data_folder_is_2_and_promises_nothing(tmp_path):
    (tmp_path / "coexist.db").write_bytes(b"no database at all" * 1000)
    result = coexist("run", **settings_for(tmp_path))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "Restore the folder from a backup" in result.stderr
    assert "is kept" not in result.stderr
    code, output = run("tail", "timeline", "--no-follow", data_dir=tmp_path)
    assert (code, "cannot be read" in output) == (1, True)


def test_a_folder_for_media_that_cannot_be_made_is_2(tmp_path):
    result = coexist("run", **settings_for(tmp_path / "data", media_url="/proc/nowhere"))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "COEXIST_MEDIA_URL" in result.stderr


def test_an_address_of_another_machine_is_2(tmp_path):
    result = coexist("run", **settings_for(tmp_path / "data") | {"host": "192.0.2.1"})
    assert (result.returncode, result.stderr.count("\n"), "192.0.2.1" in result.stderr) == (2, 1, True)


def test_an_admin_listener_for_everybody_without_a_token_is_2_before_anything_is_made(tmp_path):
    result = coexist("run", **settings_for(tmp_path / "data", admin_host="0.0.0.0"))
    assert (result.returncode, "COEXIST_ADMIN_TOKEN" in result.stderr) == (2, True)
    assert not (tmp_path / "data").exists()


def test_schemas_go_to_a_folder_that_can_be_written_or_nowhere(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("/proc/nowhere", tmp_path / "file"):
        code, output = run("schemas", "export", folder)
        assert (code, output.count("\n"), "cannot be used" in output) == (2, 1, True)


def test_tail_reads_a_folder_whatever_the_partitions_of_its_own_settings(tmp_path):
    async def leave():
        async with service(tmp_path) as rig:
            await rig.trigger("message")

    asyncio.run(leave())
    for partitions in (1, 2, 7):
        code, output = run("tail", "inbound", "--no-follow", data_dir=tmp_path, partitions=partitions)
        assert (code, output.count("webhook.message")) == (0, 1)


@contextlib.contextmanager
def somebody_else():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_somebody_else_at_the_admin_address_is_3(tmp_path):
    with somebody_else() as url:
        code, output = run("numbers", "list", data_dir=tmp_path, admin_url=url)
    assert (code, "is not Coexist" in output) == (3, True)


def test_an_address_file_that_nobody_can_read_is_3(tmp_path):
    for content in ("[]", "nonsense", "{}"):
        (tmp_path / "admin.json").write_text(content)
        code, output = run("numbers", "list", data_dir=tmp_path)
        assert (code, "coexist run" in output) == (3, True)


def test_a_defect_is_one_sentence_that_quotes_nothing():
    @click.group(cls=Plainly)
    def group():
        pass

    @group.command()
    def fail():
        raise KeyError("34600111222")

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "Ended by KeyError at test_cli_mistakes.py" in result.output
    assert "34600111222" not in result.output


@pytest.mark.parametrize("name", [".env", "token"])
def test_a_file_of_settings_that_is_no_text_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"COEXIST_PORT=\xff\xfe\n")
    environment_ = {} if name == ".env" else {"COEXIST_ADMIN_TOKEN_FILE": str(tmp_path / name)}
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        load(environment_, tmp_path / ".env")


def test_a_setting_that_is_given_twice_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("from a file")
    twice = {"COEXIST_META_VERIFY_TOKEN": "from here", "COEXIST_META_VERIFY_TOKEN_FILE": str(path)}
    with pytest.raises(SettingsError, match=r"COEXIST_META_VERIFY_TOKEN_FILE are both set\. Keep one\."):
        load(twice)
