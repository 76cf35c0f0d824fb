"""The sandbox's page beside the service's timeline, as `coexist demo` shows it, in a real browser."""

import json
import re
import statistics
import time

import pytest

from tests import processes
from tests.app.rig import NUMBER
from tests.browser.rig import DESK, PHONE, Held, expect, fits, keep_picture, measured, violations, watched

pytestmark = pytest.mark.browser

SEEN_S_MAX = 0.5
TIMES = 5
ANSWER_S = 0.5
NO_CHAT = {"messages": []}


def open_sandbox(page):
    page.goto("/sandbox")
    for part in ("#live", "#timeline-rows"):
        expect(page.locator(part)).to_have_attribute("data-live", "true")
    expect(page.locator("#absent")).to_be_hidden()
    return page.locator("#timeline-rows li")


@pytest.mark.parametrize("side", ["customer", "app"])
def test_what_is_typed_on_a_phone_stands_on_the_timeline_within_half_a_second(browser, world, side):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        took = []
        for n in range(TIMES):
            text = f"{side} says {n}"
            page.locator(f"#{side}-text").fill(text)
            started = time.monotonic()
            page.keyboard.press("Enter")
            expect(rows.filter(has_text=text)).to_have_count(1)
            took.append(time.monotonic() - started)
        expect(rows.last.locator(".origin")).to_contain_text("customer" if side == "customer" else "app")
        expect(page.locator("#customer-chat")).to_contain_text(f"{side} says 0")
        expect(page.locator("#app-chat")).to_contain_text(f"{side} says 0")
        assert violations(page) == []
        keep_picture(page, f"sandbox-{side}")
        measured(f"typed by the {side} to seen, s: {[round(one, 3) for one in took]}")
        assert statistics.median(took) < SEEN_S_MAX or processes.busy()


def test_a_person_in_the_app_silences_the_bot_and_the_page_says_so(browser, world):
    with watched(browser, world.url, **DESK) as page:
        open_sandbox(page)
        page.locator("#customer-text").fill("hola?")
        page.keyboard.press("Enter")
        page.locator("#app-text").fill("ara vinc")
        page.keyboard.press("Enter")
        expect(page.locator("#owner")).to_contain_text("A person answers in the app. Bot paused")


def test_a_message_delivered_twice_stands_on_the_timeline_once(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        page.get_by_role("button", name="deliver twice").click()
        page.locator("#customer-text").fill("only once")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="only once")).to_have_count(1)
        page.locator("#customer-text").fill("the next one")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="the next one")).to_have_count(1)
        expect(rows.filter(has_text="only once")).to_have_count(1)


def test_the_page_is_live_only_once_it_knows_whose_chat_it_shows(browser, world):
    with watched(browser, world.url, **DESK) as page:
        for part in ("numbers", "chats"):
            page.route(f"**/sandbox/api/{part}", slowly)
        rows = open_sandbox(page)
        page.locator("#customer-text").fill("typed at once")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="typed at once")).to_have_count(1)


def slowly(route):
    """As on a busy machine: the answer comes long after both streams have begun."""
    answer = route.fetch()
    time.sleep(ANSWER_S)
    route.fulfill(response=answer)


def test_a_new_person_before_the_page_is_live_is_nobody_and_does_not_keep_it_from_becoming_live(browser, world):
    with watched(browser, world.url, **DESK) as page:
        numbers = Held(page, "**/sandbox/api/numbers")
        page.goto("/sandbox")
        numbers.wait()
        page.get_by_role("button", name="New person").click()
        numbers.let_go()
        expect(page.locator("#live")).to_have_attribute("data-live", "true")
        expect(page.locator("#timeline-rows")).to_have_attribute("data-live", "true")
        page.locator("#customer-text").fill("not to nobody")
        page.keyboard.press("Enter")
        expect(page.locator("#timeline-rows li").filter(has_text="not to nobody")).to_have_count(1)


def test_a_page_whose_first_question_failed_becomes_live_by_itself(browser, world):
    with watched(browser, world.url, **DESK) as page:
        page.route("**/sandbox/api/chats", lambda route: route.fulfill(status=503, json={"detail": "not now"}), times=1)
        open_sandbox(page)
        assert len(page.problems) == 1
        page.problems.clear()


def test_words_that_could_not_be_sent_stand_in_their_field_again(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        for part, path in (("customer", "**/customer/messages"), ("api", "**/v1/messages")):
            page.route(path, lambda route: route.abort(), times=1)
            field = page.locator(f"#{part}-text")
            field.fill(f"{part} tries twice")
            page.keyboard.press("Enter")
            expect(page.locator("#said")).to_contain_text("could not be reached")
            expect(field).to_have_value(f"{part} tries twice")
            page.keyboard.press("Enter")
            expect(rows.filter(has_text=f"{part} tries twice")).to_have_count(1)
            expect(field).to_have_value("")
        page.problems.clear()


def test_what_became_of_a_command_is_not_hidden_by_an_answer_that_comes_later(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        page.get_by_role("button", name="New person").click()
        expect(page.locator("#customer-text")).to_be_focused()
        taken = Held(page, "**/v1/messages")
        page.locator("#api-text").fill("told before it was taken")
        page.keyboard.press("Enter")
        page.keyboard.type("the next words")
        expect(rows.filter(has_text="told before it was taken")).to_contain_text("rejected")
        taken.let_go()
        expect(page.locator("#said")).to_contain_text("did not go out")
        expect(page.locator("#api-text")).to_have_value("the next words")


def test_it_fits_a_phone_shows_the_timeline_first_and_speaks_three_languages(browser, world):
    with watched(browser, world.url, **PHONE) as page:
        open_sandbox(page)
        expect(page.locator("#timeline")).to_be_visible()
        expect(page.locator("#customer")).to_be_hidden()
        assert fits(page)
        assert violations(page) == []
        for pane in ("customer", "app"):
            page.locator(f"[data-pane={pane}]").click()
            expect(page.locator(f"#{pane}")).to_be_visible()
            assert violations(page) == []
        page.locator("[data-pane=timeline]").click()
        keep_picture(page, "sandbox-375")
        for language, tab in (("es", "Cliente"), ("ca", "Client")):
            page.locator("#language").select_option(language)
            expect(page.locator("[data-pane=customer]")).to_have_text(tab)
            assert fits(page)


def test_the_keys_lead_to_each_pane(browser, world):
    with watched(browser, world.url, **DESK) as page:
        open_sandbox(page)
        for key, focused in (("1", "#customer-text"), ("3", "#app-text"), ("2", "#timeline .scroll")):
            page.keyboard.press("Escape")
            page.keyboard.press(key)
            expect(page.locator(focused)).to_be_focused()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()


def test_after_an_edit_the_next_words_are_a_message_of_their_own(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        for side in ("customer", "app"):
            chat, field = page.locator(f"#{side}-chat"), page.locator(f"#{side}-text")
            field.fill(f"{side}: first")
            page.keyboard.press("Enter")
            expect(chat).to_contain_text(f"{side}: first")
            page.get_by_role("button", name="edit last").click()
            expect(field).to_be_focused()
            expect(page.locator("#said")).to_contain_text("Change the text")
            field.fill(f"{side}: changed")
            page.keyboard.press("Enter")
            expect(rows.filter(has_text=f"{side}: changed")).to_have_count(1)
            expect(page.locator("#said")).not_to_contain_text("Change the text")
            page.keyboard.type(f"{side}: second")
            page.keyboard.press("Enter")
            expect(rows.filter(has_text=f"{side}: second")).to_have_count(1)
            expect(rows.filter(has_text=f"{side}: changed")).to_have_count(1)
            expect(chat).to_contain_text(f"{side}: changed")


def test_meta_comes_back_by_itself_though_the_page_was_reloaded_or_closed(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        button = page.get_by_role("button", name="go offline")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#said")).to_contain_text("Meta is offline for")
        page.locator("#customer-text").fill("while offline")
        page.keyboard.press("Enter")
        page.reload()
        expect(button).to_have_attribute("aria-pressed", "true")
        assert rows.filter(has_text="while offline").count() == 0
        world.run(world.rig.control("/offline", {"seconds": 1.5}))
    with watched(browser, world.url, **DESK) as page:
        open_sandbox(page)
        expect(page.get_by_role("button", name="go offline")).to_have_attribute("aria-pressed", "false")
        expect(page.locator("#count-waiting")).to_have_text("0")


def test_the_counters_are_those_of_the_service_and_of_meta_whenever_the_page_was_opened(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        page.locator("#app-text").fill("counted")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="counted")).to_have_count(1)
        world.run(world.rig.control("/flush", {"timeout_s": 30}))
        ledger = world.run(world.rig.meta.get("/sandbox/api/ledger")).json()
        totals = world.run(world.rig.admin.get("/v1/totals")).json()["totals"]
        assert sum(totals["messages"].values()) > 0
        for _ in range(2):
            expect(page.locator("#count-items")).to_have_text(str(ledger["items"]))
            expect(page.locator("#count-deliveries")).to_have_text(str(ledger["deliveries"]))
            expect(page.locator("#count-timeline")).to_have_text(str(sum(totals["messages"].values())))
            expect(page.locator("#latency")).to_contain_text("ms")
            page.reload()


def test_a_bot_s_message_that_does_not_go_out_stands_there_with_the_reason(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        page.get_by_role("button", name="New person").click()
        expect(page.locator("#customer-text")).to_be_focused()
        page.locator("#api-text").fill("nobody wrote before")
        page.keyboard.press("Enter")
        unsent = rows.filter(has_text="nobody wrote before")
        expect(unsent).to_contain_text("rejected")
        expect(page.locator("#said")).to_contain_text("did not go out")
        page.locator("#customer-text").fill("now I do")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="now I do")).to_have_count(1)
        page.locator("#app-text").fill("I answer myself")
        page.keyboard.press("Enter")
        expect(page.locator("#owner")).to_contain_text("Bot paused")
        page.locator("#api-text").fill("too late")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="too late")).to_contain_text("withdrawn: taken over")
        keep_picture(page, "sandbox-unsent")
        rows.filter(has_text="too late").locator("summary").click()
        expect(rows.filter(has_text="too late")).to_contain_text("send.withdrawn")


@pytest.mark.parametrize(("offset", "refused"), [(999_999, True), (0, False)], ids=["ahead", "outgrown"])
def test_a_page_left_open_over_a_restart_shows_the_new_world_and_goes_on(browser, world, offset, refused):
    here = f"of the new world, {offset}"
    world.run(world.rig.customer(here))
    with watched(browser, world.url, **DESK) as page:
        page.route("**/v1/events", lambda route: as_before_the_restart(route, offset), times=1)
        page.route("**/v1/health", lambda route: route.fulfill(json={"started_at": "before"}), times=1)
        rows = open_sandbox(page)
        expect(rows.filter(has_text=here)).to_have_count(1)
        expect(rows.filter(has_text="of the old world")).to_have_count(0)
        page.locator("#customer-text").fill("seen at once")
        page.keyboard.press("Enter")
        expect(rows.filter(has_text="seen at once")).to_have_count(1)
        assert ["410" in problem for problem in page.problems] == [True] * refused
        page.problems.clear()


def as_before_the_restart(route, offset):
    """A stream of a log that was longer, and its end."""
    data = {"message_id": "old", "number": NUMBER, "kind": "text", "content": {"body": "of the old world"}}
    event = {"topic": "timeline", "type": "message.added", "data": data}
    body = f"retry: 1\nid: timeline/0:{offset}\ndata: {json.dumps(event)}\n\n"
    route.fulfill(content_type="text/event-stream", body=body)


def test_that_it_was_not_reached_is_said_until_it_is(browser, world):
    with watched(browser, world.url, **DESK) as page:
        open_sandbox(page)
        page.route("**/sandbox/api/ledger", lambda route: route.abort())
        expect(page.locator("#said")).to_contain_text("could not be reached")
        page.unroute("**/sandbox/api/ledger")
        expect(page.locator("#said")).to_have_text("")
        page.problems.clear()


def test_that_there_are_no_chats_is_said_until_there_is_one(browser, world):
    with watched(browser, world.url, **DESK) as page:
        for path in ("**/sandbox/api/chats", f"**/sandbox/api/chats/{NUMBER}/*"):
            page.route(path, lambda route: route.fulfill(json=[] if route.request.url.endswith("chats") else NO_CHAT))
        open_sandbox(page)
        expect(page.locator("#said")).to_have_text("No chats yet: write as the customer.")
        page.locator("#customer-text").fill("the first")
        page.keyboard.press("Enter")
        expect(page.locator("#customer-chat")).to_contain_text("the first")
        expect(page.locator("#said")).to_have_text("")


def test_a_bot_s_message_of_another_program_that_does_not_go_out_is_shown_with_its_person_and_words(browser, world):
    with watched(browser, world.url, **DESK) as page:
        rows = open_sandbox(page)
        page.route("**/v1/topics/outbound/newest?*", lambda route: route.fulfill(json={"events": []}), times=1)
        world.run(world.rig.send("not known here", to="34600555666", command_id="elsewhere-1"))
        expect(rows.filter(has_text=re.compile("a bot.s message"))).to_contain_text("rejected")
        world.run(world.rig.send("known by asking", to="+34600555777", command_id="elsewhere-2"))
        expect(rows.filter(has_text="34600555777: known by asking")).to_contain_text("rejected")
