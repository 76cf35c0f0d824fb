"""The tokens of the admin listener: what each may do, for every route that there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.listener import OPEN_PATHS
from services.api.scopes import ADMIN, METRICS, ORDER, READ, SEND, Tokens, needed, permits
from services.app import open_app
from services.settings import SettingsError
from tests.app.rig import NUMBER, service, settings, until

TOKENS = {f"{scope}_token": f"a-token-with-the-scope-{scope}" for scope in ORDER}
SENDING = {
    ("POST", "/v1/messages"),
    ("DELETE", "/v1/sends/{command_id}"),
    ("POST", "/v1/conversations/{conversation_id}/takeover"),
    ("POST", "/v1/conversations/{conversation_id}/release"),
    ("POST", "/v1/conversations/{conversation_id}/assign"),
}


def bearer(scope):
    return {"Authorization": f"Bearer {TOKENS[f'{scope}_token']}"}


async def routes(rig):
    """Method and path of everything that the admin listener answers."""
    found = (await rig.admin.get("/openapi.json", headers=bearer(READ))).json()["paths"]
    listed = {(method.upper(), path) for path, methods in found.items() for method in methods}
    return listed | {("GET", "/metrics"), ("GET", "/asyncapi.json"), ("GET", "/openapi.json")}


async def test_every_route_takes_the_scope_that_it_should_and_refuses_every_narrower_one(tmp_path):
    async with service(tmp_path, roles=("ingest",), about=TOKENS) as rig:
        every = await routes(rig)
        assert len(every) > 30
        for method, path in every:
            if method == "GET":
                wanted = METRICS if path == "/metrics" else ADMIN if path.startswith("/v1/privacy") else READ
            else:
                wanted = SEND if (method, path) in SENDING else ADMIN
            for scope in ORDER[: ORDER.index(wanted)]:
                address = path.replace("{", "").replace("}", "")
                answer = await rig.admin.request(method, address, headers=bearer(scope))
                assert answer.status_code == 403, f"{scope} may {method} {path}"
                assert answer.json()["fix"] == f"It takes a token of scope {wanted}."
            assert needed(method, path) == wanted


async def test_each_token_does_what_it_is_for(tmp_path):
    async with service(tmp_path, about=TOKENS) as rig:
        assert (await rig.admin.get("/metrics", headers=bearer(METRICS))).status_code == 200
        assert (await rig.admin.get("/v1/numbers", headers=bearer(READ))).status_code == 200
        added = await rig.admin.post("/v1/numbers", json={"number": NUMBER}, headers=bearer(ADMIN))
        assert added.status_code == 202
        await until(lambda: rig.app.knows(NUMBER))
        body = {"number": NUMBER, "to": "34600111222", "type": "text", "text": {"body": "hola"}}
        assert (await rig.admin.post("/v1/messages", json=body, headers=bearer(SEND))).status_code == 202
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": TOKENS["admin_token"]}):
            assert (await rig.admin.get("/metrics", headers=headers)).status_code == 401
        for path in OPEN_PATHS:
            assert (await rig.admin.get(path)).status_code in (200, 503)


@pytest.mark.parametrize("narrow", ["metrics_token", "read_token", "send_token"])
async def test_a_narrow_token_without_a_wide_one_is_refused_at_the_start(tmp_path, narrow):
    with pytest.raises(SettingsError, match="Set COEXIST_ADMIN_TOKEN as well"):
        async with open_app(settings(tmp_path, **{narrow: "x" * 32}), ("ingest",)):
            pass


def test_two_scopes_may_not_share_a_token(tmp_path):
    with pytest.raises(SettingsError, match="Two of"):
        Tokens(settings(tmp_path, admin_token="x" * 32, read_token="x" * 32))


def test_without_any_token_none_is_asked_for(tmp_path):
    assert not Tokens(settings(tmp_path))


@given(st.sampled_from(ORDER), st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]), st.text())
def test_a_wider_scope_may_all_that_a_narrower_one_may(scope, method, path):
    for wider in ORDER[ORDER.index(scope) :]:
        assert permits(wider, method, path) or not permits(scope, method, path)
    assert permits(ADMIN, method, path)


@given(st.text(max_size=200))
def test_no_header_but_the_right_one_has_a_scope(header):
    tokens = Tokens(settings("data", **TOKENS))
    wanted = {f"Bearer {token}": scope.removesuffix("_token") for scope, token in TOKENS.items()}
    assert tokens.scope_of(header) == wanted.get(header)
