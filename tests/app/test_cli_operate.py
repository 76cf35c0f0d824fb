"""`coexist ready` and `coexist migrate`, as a container's health check and a migration job call them."""

import httpx
import pytest
from click.testing import CliRunner

from services.cli import main
from tests.processes import Service, coexist, settings_for


def test_ready_says_by_its_exit_code_whether_the_service_here_is_ready(tmp_path):
    settings = settings_for(tmp_path / "data", admin_host="0.0.0.0", admin_token="t" * 32)
    before = coexist("ready", **settings)
    assert (before.returncode, "Start `coexist run`" in before.stderr) == (3, True)
    with Service(settings, tmp_path) as service:
        waited = coexist("ready", "--wait", "20", **settings)
        assert (waited.returncode, waited.stdout) == (0, "ready\n"), waited.stderr
        assert httpx.get(f"{service.admin}/metrics").status_code == 401
    after = coexist("ready", **settings)
    assert after.returncode == 3


def test_the_help_of_ready_says_that_a_full_disk_is_ready():
    told = CliRunner().invoke(main, ["ready", "--help"]).output
    assert "with a full disk it stays ready" in " ".join(told.split())


def test_a_service_that_listens_but_does_not_work_yet_is_not_ready(tmp_path, unready):
    result = coexist("ready", admin_url=unready, data_dir=tmp_path)
    assert (result.returncode, "not ready" in result.stderr) == (1, True)


def test_migrate_makes_the_schema_and_may_be_repeated(tmp_path):
    for _ in range(2):
        result = coexist("migrate", data_dir=tmp_path / "data")
        assert (result.returncode, "up to date" in result.stdout) == (0, True), result.stderr
    assert (tmp_path / "data" / "coexist.db").is_file()


def test_migrate_wants_the_service_stopped(tmp_path):
    settings = settings_for(tmp_path / "data")
    with Service(settings, tmp_path) as service:
        service.ready()
        result = coexist("migrate", **settings)
        assert (result.returncode, "is in use" in result.stderr) == (3, True), result.stderr


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/none", "no-url"])
def test_migrate_on_a_database_that_is_not_there_ends_with_3_and_one_sentence(tmp_path, url):
    result = coexist("migrate", data_dir=tmp_path, database_url=url, kafka_bootstrap_servers="127.0.0.1:9")
    assert result.returncode == 3
    assert result.stderr.startswith("Error: Postgres did not answer")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def unready():
    """The address of a server that answers 503 to everything."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()
