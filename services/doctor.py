"""`coexist doctor`: every prerequisite, looked at one by one, with what to do beside each that fails.

It changes nothing and sends nothing to customers: the webhook is tried with an empty body, signed and unsigned.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import click
import httpx
import orjson
from pydantic import SecretStr

from ingest.probes import HEADER, proof
from ingest.signature import sign
from services.commands.admin_client import AdminClient
from services.graph_account import FIELDS_WANTED, SCOPES_WANTED, GraphAccount, GraphRefused, GraphSilent
from services.preflight import Finding, encryption_keys, machine
from services.settings import SECRET_LENGTH_MIN, Settings

CLOCK_SKEW_S_MAX = 30.0
"""Windows, pauses and expiries are compared with Meta's times."""
TOKEN_DAYS_MIN = 7
ASK_S = 5.0
EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Doctor:
    """One examination. `wabas`: accounts to look at beside those of the known numbers; `webhook`: its public URL."""

    settings: Settings
    graph: GraphAccount
    web: httpx.Client
    wabas: tuple[str, ...] = ()
    webhook: str = ""
    clock: Callable[[], float] = time.time

    def examine(self) -> Iterator[Finding]:
        """Everything, in the order in which one thing needs the other."""
        yield from self._given()
        yield from machine(self.settings.data_dir)
        numbers: list[dict[str, Any]] = []
        yield from self._listeners(numbers)
        yield from self._webhook()
        yield from self._graph({one["waba"] for one in numbers if one["waba"]})

    # --- what was set

    def _given(self) -> Iterator[Finding]:
        found = self.settings
        given = found.meta_app_secrets
        fix = "Meta app dashboard → App settings → Basic → App secret; set COEXIST_META_APP_SECRETS."
        short = [one for one in given if len(one.get_secret_value()) < SECRET_LENGTH_MIN]
        says = f"{len(given)} set" + (", one is shorter than Meta's" if short else "")
        yield Finding("app secret", bool(given), says if given else "not set", fix)
        fix = "Choose any long text, set COEXIST_META_VERIFY_TOKEN, and write the same one into the dashboard."
        yield _set("verify token", found.meta_verify_token, fix)
        fix = "Business settings → System users → Generate token; set COEXIST_META_ACCESS_TOKEN or its _FILE."
        if found.meta_access_token is None and found.encryption_keys:
            yield Finding("access token", ok=None, says="not set; numbers may have their own")
        else:
            yield _set("access token", found.meta_access_token, fix)
        yield from encryption_keys(found)

    # --- what runs

    def _listeners(self, numbers: list[dict[str, Any]]) -> Iterator[Finding]:
        """The admin listener; it fills in the numbers that it knows."""
        try:
            numbers += AdminClient(self.settings).call("GET", "/v1/numbers")["numbers"]
        except click.ClickException as problem:
            yield Finding("admin listener", ok=False, says="no answer", fix=problem.message)
            return
        yield Finding("admin listener", ok=True, says="answers")
        if not numbers:
            yield Finding("numbers", ok=None, says="none known yet: `coexist onboard --waba ID`")
        for number in numbers:
            fix = f"See `coexist numbers show {number['number']}`; when it is clear, `coexist numbers resume`."
            paused = number["because"]
            yield Finding(f"number {number['number']}", not paused, paused or "sends", fix)

    def _webhook(self) -> Iterator[Finding]:
        url = self.webhook or _webhook_of(self.settings)
        token = self.settings.meta_verify_token
        if token is None or not self.settings.meta_app_secrets:
            yield Finding("webhook", ok=None, says="not tried: it needs the app secret and the verify token")
            return
        challenge = str(secrets.randbelow(10**9))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token.get_secret_value()}
        own = self.settings.meta_app_secrets[0].get_secret_value().encode()
        status, body = self._ask("GET", url, own, params=query)
        fix = (
            f"Meta will call {url} and must read the challenge back. Is `coexist run` running, and the way to it open?"
        )
        yield Finding("handshake", status == 200 and body == challenge.encode(), _answered(status), fix)
        if not status:
            return
        status, _ = self._ask("GET", url, own, params=query | {"hub.verify_token": "wrong"})
        yield Finding("wrong verify token", status == 403, _answered(status), "Something else answers at this address.")
        status, _ = self._ask("POST", url, own, sign(EMPTY, own))
        fix = "The running service has another app secret: start it anew with these settings."
        yield Finding("signed webhook", status == 200, _answered(status), fix)
        status, _ = self._ask("POST", url, own, "sha256=" + "0" * 64)
        fix = "It must be refused. Something between Meta and Coexist answers in its place."
        yield Finding("unsigned webhook", status == 401, _answered(status), fix)

    def _ask(
        self, method: str, url: str, own: bytes, signature: str = "", params: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer. What is refused of this raises no alarm there: it is proven to be ours."""
        headers = {HEADER: proof(own, self.clock())}
        content = None
        if signature:
            headers |= {"Content-Type": "application/json", "X-Hub-Signature-256": signature}
            content = EMPTY
        try:
            answer = self.web.request(method, url, timeout=ASK_S, params=params, headers=headers, content=content)
        except httpx.HTTPError:
            return 0, b""
        return answer.status_code, answer.content

    # --- Meta

    def _graph(self, wabas: set[str]) -> Iterator[Finding]:
        url = self.settings.meta_graph_url
        try:
            answer = self.web.get(url, timeout=ASK_S)
        except httpx.HTTPError as problem:
            fix = f"{url} must be reachable from here: check DNS, the proxy and the firewall."
            yield Finding("Graph", ok=False, says=type(problem).__name__, fix=fix)
            return
        yield Finding("Graph", ok=True, says=f"answers at {url}")
        yield self._skew(answer)
        if self.settings.meta_access_token is None:
            return
        yield from _guarded("token", self._token)
        for waba in sorted({*self.wabas, *wabas}):
            yield from _guarded(f"numbers of {waba}", partial(self._phones, waba))
            yield from _guarded(f"subscription of {waba}", partial(self._subscribed, waba))
        yield from _guarded("fields of the app", self._fields)

    def _skew(self, answer: httpx.Response) -> Finding:
        try:
            skew = abs(self.clock() - parsedate_to_datetime(answer.headers["date"]).timestamp())
        except (KeyError, ValueError):
            return Finding("clock", ok=None, says="Graph told no time")
        says = f"{skew:.0f} s from Graph's"
        return Finding("clock", skew <= CLOCK_SKEW_S_MAX, says, "Set the clock of this machine by NTP (`timedatectl`).")

    def _token(self) -> Finding:
        facts = self.graph.token_facts()
        missing = [scope for scope in SCOPES_WANTED if scope not in facts.get("scopes", ())]
        ends = facts.get("expires_at") or 0
        days = (ends - self.clock()) / DAY_S if ends else TOKEN_DAYS_MIN
        if facts.get("is_valid") is not True:
            return Finding("token", ok=False, says="not valid", fix="Make a new one and set COEXIST_META_ACCESS_TOKEN.")
        if missing:
            return Finding("token", ok=False, says=f"without {', '.join(missing)}", fix="Give it these permissions.")
        fix = "Make one that does not expire (system user), and set COEXIST_META_ACCESS_TOKEN."
        says = f"valid, {days:.0f} days left" if ends else "valid, does not expire"
        return Finding("token", days >= TOKEN_DAYS_MIN, says, fix)

    def _phones(self, waba: str) -> Finding:
        phones = self.graph.phones(waba)
        apart = [phone.number for phone in phones if not phone.coexists]
        fix = (
            "In the Business App: Settings → Account → Business Platform; then Embedded Signup, then `coexist onboard`."
        )
        says = f"{len(phones)} on Coexistence" if not apart else f"{', '.join(apart)} not on Coexistence"
        return Finding(f"numbers of {waba}", bool(phones) and not apart, says, fix)

    def _subscribed(self, waba: str) -> Finding:
        apps, own = self.graph.subscribed(waba), self.settings.meta_app_id
        ok = own in apps if own else bool(apps)
        fix = f"`coexist onboard --waba {waba}` subscribes it; without it Meta sends nothing."
        return Finding(f"subscription of {waba}", ok, f"{len(apps)} apps", fix)

    def _fields(self) -> Finding:
        app, given = self.settings.meta_app_id, self.settings.meta_app_secrets
        if not app or not given:
            return Finding("fields of the app", ok=None, says="set COEXIST_META_APP_ID to have them looked at")
        own = self.graph.with_token(f"{app}|{given[0].get_secret_value()}")
        _, fields = own.app_fields(app)
        missing = [name for name in FIELDS_WANTED if name not in fields]
        fix = "App dashboard → WhatsApp → Configuration → Webhook fields: subscribe to " + ", ".join(missing)
        says = f"{len(missing)} missing" if missing else f"{len(fields)} subscribed"
        return Finding("fields of the app", not missing, says, fix)


def _guarded(what: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except (GraphRefused, GraphSilent) as problem:
        yield Finding(what, ok=False, says=str(problem), fix="Is it the right token for this account and this app?")


def _set(what: str, value: SecretStr | None, fix: str) -> Finding:
    given = value is not None and bool(value.get_secret_value())
    return Finding(what, given, "set" if given else "not set", fix)


def _answered(status: int) -> str:
    return f"answered {status}" if status else "no answer"


def _webhook_of(settings: Settings) -> str:
    """Where the running service listens for webhooks, else where it would."""
    try:
        return str(orjson.loads((settings.data_dir / "admin.json").read_bytes())["webhook"])
    except (OSError, orjson.JSONDecodeError, KeyError):
        return f"http://127.0.0.1:{settings.port}/webhooks/meta"
