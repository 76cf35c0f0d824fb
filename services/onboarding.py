"""`coexist onboard`: from an account of Embedded Signup to numbers that are subscribed, registered and synchronised.

The order is Meta's: subscribe first, then contacts, then history, each asked for once within 24 hours of the signup
(Meta contract 5.1, 5.3). A sync whose answer is lost is never asked for again by itself: when the command is run once
more, Meta says whether it had been accepted.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import click

from schemas.instants import parse_rfc3339
from services.commands.failure import Failure
from services.graph_account import GraphAccount, GraphRefused, GraphSilent, Phone

ASKED_TWICE, TOO_LATE = 2593107, 2593108
SYNCS = {"contacts": "smb_app_state_sync", "history": "history"}
ASKED_AT = {"contacts": "contacts_asked_at", "history": "asked_at"}
WITHIN_S = 24 * 3600.0
MET_S = 10.0
LOOK_S = 0.2
ENDS = frozenset({"complete", "declined", "stalled"})

Say = Callable[[str], None]


class Admin(Protocol):
    """The running service, as `AdminClient` reaches it."""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises click.ClickException."""


@dataclass(frozen=True, slots=True)
class Onboarding:
    """One run. `only`: these numbers of the account, all when empty. `history`: whether to ask for the chats, too.

    `token_is_theirs`: the token was given for this account, so its numbers are to use it from now on.
    """

    admin: Admin
    graph: GraphAccount
    waba: str
    say: Say
    only: tuple[str, ...] = ()
    history: bool = True
    token_is_theirs: bool = False

    def run(self) -> list[str]:
        """Do it all; the numbers that coexist now. Raises Failure in one sentence with what to do about it."""
        self.admin.call("GET", "/v1/numbers")
        phones = self._chosen()
        self._subscribe()
        done = []
        for phone in phones:
            self._register(phone)
            if phone.coexists:
                self._sync(phone.number)
                done.append(phone.number)
            else:
                self.say(f"{phone.number}: not in the Business App; registered for the Cloud API, nothing to sync")
        self._templates()
        if not done:
            raise Failure(
                "No number of this account is in the Business App and the Cloud API at once. In the app: "
                "Settings → Account → Business Platform; then go through Embedded Signup again."
            )
        return done

    def _chosen(self) -> list[Phone]:
        phones = self._ask("look up the numbers", lambda: self.graph.phones(self.waba))
        known = {phone.number for phone in phones}
        if strange := [number for number in self.only if number not in known]:
            raise Failure(f"{', '.join(strange)} is not a number of account {self.waba}. It has: {_list(known)}.")
        if not phones:
            raise Failure(f"Account {self.waba} has no numbers. Finish Embedded Signup first.")
        return [phone for phone in phones if not self.only or phone.number in self.only]

    def _subscribe(self) -> None:
        self._ask("subscribe the app", lambda: self.graph.subscribe(self.waba))
        if not self._ask("check the subscription", lambda: self.graph.subscribed(self.waba)):
            raise Failure("Graph took the subscription and lists none. Run this again; nothing was synchronised.")
        self.say(f"{self.waba}: app subscribed")

    def _register(self, phone: Phone) -> None:
        body = {"number": phone.number, "waba": self.waba, "business_phone": _digits(phone.display)}
        self.admin.call("POST", "/v1/numbers", body)
        end = time.monotonic() + MET_S
        while time.monotonic() < end:
            if any(one["number"] == phone.number for one in self.admin.call("GET", "/v1/numbers")["numbers"]):
                self.say(f"{phone.number}: registered")
                return self._hand_token(phone.number)
            time.sleep(LOOK_S / 4)
        raise Failure(f"{phone.number} was not registered within {MET_S:g} s. Is the role echo-sync running?")

    def _hand_token(self, number: str) -> None:
        if not self.token_is_theirs:
            return
        try:
            self.admin.call("PUT", f"/v1/numbers/{number}/token", {"token": self.graph.token})
        except click.ClickException as problem:
            self.say(f"{number}: token not kept, COEXIST_META_ACCESS_TOKEN is used: {problem.message}")
        else:
            self.say(f"{number}: token sealed and kept")

    def _templates(self) -> None:
        """What Meta's list says of the templates; without it only what changes from now on is known."""
        count = 0
        try:
            for page in self.graph.templates(self.waba):
                self.admin.call("POST", f"/v1/templates?waba={self.waba}", {"data": page})
                count += len(page)
        except (GraphRefused, GraphSilent) as problem:
            self.say(f"{self.waba}: templates not read ({problem}); run this again to know which are paused")
        else:
            self.say(f"{self.waba}: {count} templates known")

    def _sync(self, number: str) -> None:
        shown = self.admin.call("GET", f"/v1/numbers/{number}")["history"]
        for kind in SYNCS:
            if kind == "history" and not self.history:
                continue
            asked_at = shown.get(ASKED_AT[kind])
            if asked_at and _age_s(asked_at) < WITHIN_S:
                self.say(f"{number}: {kind} asked for already, at {asked_at}")
            else:
                self._sync_once(number, kind, asked_before=bool(asked_at))

    def _sync_once(self, number: str, kind: str, *, asked_before: bool) -> None:
        try:
            request_id = self.graph.sync(number, SYNCS[kind])
        except GraphRefused as refusal:
            if refusal.code == ASKED_TWICE:
                request_id = ""
            elif refusal.code == TOO_LATE and asked_before:
                self.say(f"{number}: {kind} belongs to an earlier day; Meta gives it once")
                return
            else:
                raise Failure(_refused(number, kind, refusal)) from None
        except GraphSilent as silence:
            raise Failure(
                f"{number}: {silence}, so nobody knows whether {kind} was accepted. Run the same command again: "
                "Meta then says whether it had been, and nothing is asked for twice."
            ) from None
        body = {"request_id": request_id} if request_id else None
        self.admin.call("POST", f"/v1/numbers/{number}/syncs/{kind}", body)
        how = f"accepted, request {request_id}" if request_id else "had been accepted already"
        self.say(f"{number}: {kind} {how}")

    def _ask(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except GraphSilent as silence:
            raise Failure(f"Could not {what}: {silence}. Check COEXIST_META_GRAPH_URL and the way out.") from None
        except GraphRefused as refusal:
            raise Failure(f"Could not {what}: {refusal}. {_hint(refusal)}") from None


def follow(admin: Admin, number: str, wait_s: float) -> Iterator[str]:
    """The history import of a number in words, as it goes on, until its end or until the time is over."""
    end, told = time.monotonic() + wait_s, ""
    while time.monotonic() < end:
        history = admin.call("GET", f"/v1/numbers/{number}")["history"]
        line = in_words(history)
        if line != told:
            yield f"{number}: {line}"
            told = line
        if history["status"] in ENDS:
            return
        time.sleep(LOOK_S)
    yield f"{number}: goes on by itself; look again with `coexist numbers show {number}`"


def in_words(history: dict[str, Any]) -> str:
    """An import as a person reads it."""
    words = {
        "none": "history was not asked for",
        "asked": "history accepted, nothing has come yet; keep the Business App open in the foreground",
        "running": f"history {history['progress']} %",
        "complete": "history complete",
        "declined": "history declined: the business does not share its chats; contacts and new messages come",
        "stalled": "nothing has come for 24 hours; it may still, and everything else works without it",
    }[history["status"]]
    gaps = sum(gap["last"] - gap["first"] + 1 for gap in history["missing"])
    return words + (f", {gaps} chunks missing" if gaps else "")


def _refused(number: str, kind: str, refusal: GraphRefused) -> str:
    if refusal.code == TOO_LATE:
        return (
            f"{number}: {kind} can only be asked for within 24 hours of the signup (error {TOO_LATE}). To have it, "
            "disconnect in the app (Settings → Account → Business Platform) and go through Embedded Signup again."
        )
    return f"{number}: {kind} was refused: {refusal}. {_hint(refusal)}"


def _hint(refusal: GraphRefused) -> str:
    if refusal.code == 190:
        return "The token is not valid any more: give a new one with --token-file, or a new --code."
    if refusal.code in (10, 100, 200):
        return "The token needs both WhatsApp permissions for this account; `coexist doctor` says which is missing."
    return "`coexist doctor` looks at everything that is needed."


def _age_s(instant: str) -> float:
    return (datetime.now(UTC) - datetime.fromtimestamp(parse_rfc3339(instant), UTC)) / timedelta(seconds=1)


def _digits(display: str) -> str:
    return "".join(sign for sign in display if sign.isdecimal())


def _list(numbers: set[str]) -> str:
    return ", ".join(sorted(numbers)) or "none"
