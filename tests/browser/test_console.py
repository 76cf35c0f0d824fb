"""The operator page in a real browser: every view, both looks, three languages, without a mouse, live."""

import statistics
import time

import pytest
from msgspec.structs import replace

from schemas.ports import Event
from schemas.topics import OUTBOUND
from tests import harness as h
from tests import processes
from tests.app.rig import CONTACT, NUMBER, service, until
from tests.app.test_api_console import MANY, seed
from tests.browser.rig import DESK, PHONE, Held, World, expect, fits, keep_picture, measured, violations, watched

pytestmark = pytest.mark.browser

VIEWS = {
    "overview": "Overview",
    "numbers": "Numbers",
    "conversations": "Conversations",
    "sends": "Sends",
    "letters": "Dead letters",
    "requests": "Privacy requests",
    "topics": "Topics",
    "topics/timeline": "timeline",
    "health": "Health",
}
SEEN_S_MAX = 0.5
PAINT_MS_MAX = 200
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def busy(world):
    """A world in which every view has something to show."""
    world.conversation = world.run(_make_busy(world.rig))
    return world


async def _make_busy(rig):
    await rig.customer("Teniu la jaqueta en vermell?")
    conversation = (await until(rig.conversation))["conversation_id"]
    await rig.customer("Esborreu totes les meves dades, si us plau", contact="34600111333")
    stray = replace(h.request("stray", "34600000009"), number="999")
    await rig.app.log.append([(OUTBOUND, stray)])
    first = await rig.send("Sí!", origin="agent")
    await rig.outcome(first)
    await rig.admin.post(f"/v1/numbers/{NUMBER}/pause")

    async def paused():
        return (await rig.admin.get("/v1/numbers")).json()["numbers"][0]["sending"] == "paused"

    await until(paused)
    rig.queued = [await rig.send(text, origin="agent") for text in ("one", "two")]
    await rig.app.log.append([(OUTBOUND, Event("bad", "send.requested", NUMBER, b'{"command_id": 7}', 0, 0))])

    async def full():
        sends = (await rig.admin.get("/v1/sends")).json()["sends"]
        letters = (await rig.admin.get("/v1/dead-letters")).json()
        return len(sends) == 2 and letters["count"]

    await until(full)
    return conversation


def open_conversation(page, world):
    page.goto(f"/#/conversation/{world.conversation}")
    expect(page.locator(".live")).to_have_text("live")
    return page.locator(".timeline li")


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk-light", "phone-dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_without_an_error_and_fits(browser, busy, view, look):
    with watched(browser, busy.url, **look) as page:
        page.goto(f"/#/{view}")
        expect(page.locator("main h2")).to_have_text(VIEWS[view])
        expect(page.locator("main :is(td, li, dd)").first).to_be_visible()
        assert fits(page)
        assert violations(page) == []
        keep_picture(page, f"{view.replace('/', '-')}-{look['viewport']['width']}")


@pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk-light", "phone-dark"])
def test_one_of_each_opens_without_an_error_and_fits(browser, busy, look):
    with watched(browser, busy.url, **look) as page:
        rows = open_conversation(page, busy)
        expect(rows.first).to_contain_text("jaqueta")
        expect(page.locator("main")).to_contain_text("the number (paused here)")
        assert fits(page)
        assert violations(page) == []
        keep_picture(page, f"conversation-{look['viewport']['width']}")
        page.goto(f"/#/send/{busy.rig.queued[0]}")
        expect(page.locator(".events li").first).to_contain_text("send.requested")
        assert fits(page)
        assert violations(page) == []
        page.goto("/#/letters")
        page.locator("td a").first.click()
        expect(page.locator("pre")).to_contain_text('"command_id": 7')
        assert fits(page)
        assert violations(page) == []


def test_what_nobody_could_read_or_hear_would_be_found(browser, busy):
    with watched(browser, busy.url, **PHONE) as page:
        page.goto("/#/health")
        expect(page.locator("main h2")).to_have_text("Health")
        page.evaluate("document.querySelector('main h2').style.color = '#444'")
        page.evaluate("document.querySelector('main').append(new Image(20, 20))")
        assert [rule for rule, *_ in violations(page)] == ["color-contrast", "image-alt"]


def test_it_is_light_or_dark_as_the_reader_likes(browser, busy):
    shades = []
    for scheme in ("light", "dark"):
        with watched(browser, busy.url, color_scheme=scheme) as page:
            page.goto("/")
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            shades.append(sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))))
    assert shades[0] > 600
    assert shades[1] < 150


def test_the_overview_says_what_is_wrong_and_leads_there(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/")
        problems = page.locator(".problems")
        expect(problems).to_contain_text(f"Number {NUMBER} sends nothing: paused here.")
        expect(problems).to_contain_text("dead letters wait for you")
        problems.get_by_role("link").first.click()
        expect(page.locator("main h2")).to_be_focused()


def test_the_chart_has_its_figures_as_a_table(browser, busy):
    busy.run(busy.rig.owner("per al gràfic"))
    with watched(browser, busy.url) as page:
        page.goto("/")
        expect(page.get_by_role("img", name="Echo latency per minute")).to_be_visible()
        expect(page.get_by_text("Total: from its arrival here")).to_be_visible()
        expect(page.locator("main")).to_contain_text("total here")
        page.get_by_text("Show as table").click()
        row = page.locator("figure tbody tr").first
        expect(row).to_contain_text("ms")
        page.get_by_role("button", name="p50").click()
        expect(page.get_by_role("button", name="p50")).to_have_attribute("aria-pressed", "true")


def test_a_person_without_a_mouse_finds_a_conversation_and_takes_it_over(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/")
        expect(page.locator("main h2")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("2")
        expect(page.locator("main h2")).to_have_text("Numbers")
        expect(page.locator("main h2")).to_be_focused()
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type(CONTACT)
        expect(page.locator(".conversations li")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("main h2")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Take over")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("[data-fact=owner] dd")).to_have_text("an agent")
        expect(page.locator(".timeline")).to_contain_text("Owner now: an agent")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("[data-fact=owner] dd")).to_have_text("the bot")
        page.keyboard.press("Tab")
        page.keyboard.type("Núria")
        page.keyboard.press("Enter")
        expect(page.locator("[data-fact=assignee] dd")).to_have_text("Núria")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()


def test_the_language_is_switched_at_once_and_kept(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/health")
        for language, name, heading in (("es", "Envíos", "Salud"), ("ca", "Enviaments", "Salut")):
            page.get_by_role("combobox").select_option(language)
            expect(page.locator("main h2")).to_have_text(heading)
            expect(page.get_by_role("link", name=name)).to_be_visible()
            assert page.evaluate("document.documentElement.lang") == language
        page.reload()
        expect(page.locator("main h2")).to_have_text("Salut")


def test_a_language_chosen_while_the_first_one_loads_is_kept(browser, busy):
    with watched(browser, busy.url) as page:
        held = []
        page.route("**/i18n/en.json", lambda route: held.append(route))  # noqa: PLW0108 - it wants a Python function
        with page.expect_request("**/i18n/en.json"):
            page.goto("/#/health")
        page.get_by_role("combobox").select_option("es")
        (first,) = held
        first.continue_()
        expect(page.locator("main h2")).to_have_text("Salud")
        expect(page.get_by_role("combobox")).to_have_value("es")


def test_a_number_is_paused_and_resumed(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/numbers")
        row = page.locator("tbody tr").first
        expect(row).to_contain_text("paused: paused here")
        switch = row.get_by_role("button")
        switch.click()
        expect(row).to_contain_text("▶ on")
        switch.click()
        expect(row).to_contain_text("paused: paused here")
        expect(page.locator("#said")).to_contain_text("sends nothing")


def test_an_older_answer_does_not_hide_a_newer_one(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/numbers")
        row = page.locator("tbody tr").first
        expect(row).to_contain_text("paused: paused here")
        older = Held(page, "**/v1/limits")
        older.wait()
        row.get_by_role("button").click()
        expect(row).to_contain_text("▶ on")
        older.let_go()
        assert "▶ on" in row.text_content()
        row.get_by_role("button").click()
        expect(row).to_contain_text("paused: paused here")


def test_a_look_that_is_slower_than_the_stream_does_not_bring_an_older_owner_back(browser, busy):
    with watched(browser, busy.url) as page:
        open_conversation(page, busy)
        owner = page.locator("[data-fact=owner] dd")
        page.get_by_role("button", name="Release").click()
        expect(owner).to_have_text("the bot")
        older = Held(page, f"**/v1/conversations/{busy.conversation}")
        older.wait()
        busy.run(busy.rig.admin.post(f"/v1/conversations/{busy.conversation}/takeover", json={}))
        expect(owner).to_have_text("an agent")
        older.let_go()
        assert owner.text_content() == "an agent"
        page.get_by_role("button", name="Release").click()
        expect(owner).to_have_text("the bot")


def test_a_button_that_is_pressed_twice_acts_once(browser, busy):
    with watched(browser, busy.url) as page:
        open_conversation(page, busy)
        asked = []
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        page.get_by_role("button", name="Release").evaluate("one => { one.click(); one.click(); }")
        expect(page.locator("#said")).to_contain_text("bot")
        assert len(asked) == 1


def test_a_queued_send_is_cancelled_and_its_story_says_so(browser, busy):
    command = busy.run(busy.rig.send("not this one", origin="agent"))
    with watched(browser, busy.url) as page:
        page.goto("/#/sends")
        row = page.locator("tr", has_text=command)
        expect(row).to_contain_text("queued")
        row.get_by_role("button").click()
        expect(row).to_have_count(0)
        page.locator("#command").fill(command)
        page.keyboard.press("Enter")
        expect(page.locator(".events")).to_contain_text("send.cancelled")


def test_rejected_sends_stand_under_their_reason(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/sends")
        expect(page.locator("section", has_text="Rejected, by code")).to_contain_text("the number is not known")


def test_what_is_written_stands_on_the_open_timeline_within_half_a_second(browser, busy):
    with watched(browser, busy.url) as page:
        rows = open_conversation(page, busy)
        took = []
        for n in range(5):
            for write in (busy.rig.customer, busy.rig.owner):
                text = f"{write.__name__} {n}"
                started = time.monotonic()
                busy.run(write(text))
                expect(rows.filter(has_text=text)).to_have_count(1)
                took.append(time.monotonic() - started)
        expect(page.locator("[data-fact=owner] dd")).to_have_text("a person in the app")
        expect(page.locator("[data-fact=bots] dd")).to_contain_text("quiet until")
        assert statistics.median(took) < SEEN_S_MAX or processes.busy(), took


def test_an_edit_and_a_deletion_change_the_line_that_stands(browser, busy):
    with watched(browser, busy.url) as page:
        rows = open_conversation(page, busy)
        wamid = busy.run(busy.rig.customer("first words"))
        expect(rows.filter(has_text="first words")).to_have_count(1)
        count = rows.count()
        busy.run(busy.rig.control("/edit", {"wamid": wamid, "side": "customer", "text": "second words"}))
        expect(rows.filter(has_text="second words")).to_contain_text("edited")
        busy.run(busy.rig.control("/revoke", {"wamid": wamid, "side": "customer"}))
        expect(rows.filter(has_text="This message was deleted.")).to_have_count(1)
        assert rows.count() == count


def test_what_people_write_is_never_read_as_markup(browser, busy):
    busy.run(busy.rig.customer(EVIL, contact="34600777888", name=EVIL))
    with watched(browser, busy.url) as page:
        page.goto("/#/conversations")
        row = page.locator(".conversations a", has_text="34600777888")
        expect(row).to_contain_text("<script>")
        row.click()
        expect(page.locator(".timeline")).to_contain_text(EVIL)
        page.goto("/#/topics/timeline")
        page.locator(".records li", has_text="message.added").first.locator("summary").click()
        expect(page.locator("pre").first).to_contain_text("onerror")
        assert page.locator("main img, main script").count() == 0
        assert page.title() not in ("1", "2")


def test_a_topic_is_followed_live_and_can_be_held(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/topics/inbound")
        expect(page.locator(".live")).to_have_text("live")
        first = page.locator(".records summary").first
        before = first.text_content()
        busy.run(busy.rig.customer("one more"))
        expect(first).not_to_have_text(before)
        first.click()
        expect(page.locator(".headers").first).to_contain_text("recordedtime")
        page.get_by_role("button", name="Hold").click()
        held = first.text_content()
        busy.run(busy.rig.customer("held back"))
        expect(page.get_by_role("button", name="Hold")).to_have_attribute("aria-pressed", "true")
        assert first.text_content() == held
        page.get_by_role("button", name="Hold").click()
        expect(first).not_to_have_text(held)


def test_a_topic_whose_log_was_put_back_is_shown_anew_and_followed(browser, busy):
    with watched(browser, busy.url) as page:
        page.route("**/newest?*", as_before_the_restore, times=1)
        page.goto("/#/topics/inbound")
        records = page.locator(".records li")
        expect(page.locator(".live")).to_have_text("live")
        expect(records.filter(has_text="gone.with.the.restore")).to_have_count(0)
        before = records.first.text_content()
        busy.run(busy.rig.customer("after the restore"))
        expect(records.first).not_to_have_text(before)
        assert ["410" in problem for problem in page.problems] == [True]
        page.problems.clear()


def as_before_the_restore(route):
    """What the page saw of a log that was longer."""
    place = route.request.url.split("/topics/")[1].split("/")[0]
    gone = {"type": "gone.with.the.restore", "time": "2026-01-01T00:00:00Z", "number": NUMBER, "partition": 0}
    route.fulfill(json={"events": [gone], "last_event_id": f"{place}/0:999999"})


def test_a_dead_letter_is_replayed_and_discarded(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/#/letters")
        page.locator("td a").first.click()
        page.get_by_role("button", name="Replay").click()
        expect(page.locator("main dl")).to_contain_text("replayed")
        expect(page.get_by_role("button", name="Replay")).to_be_hidden()
        page.goto("/#/letters")
        expect(page.locator("tbody tr")).to_have_count(1)  # it could not be handled again: a new letter
        page.locator("td a").first.click()
        page.get_by_role("button", name="Discard").click()
        expect(page.locator("main dl")).to_contain_text("discarded")
        page.goto("/#/letters")
        expect(page.locator("main")).to_contain_text("None.")


def test_it_links_to_the_sandbox_where_there_is_one(browser, busy):
    with watched(browser, busy.url) as page:
        page.goto("/")
        page.get_by_role("link", name="Sandbox").click()
        expect(page.locator("h1")).to_have_text("Coexist sandbox")


def test_it_is_painted_within_a_fifth_of_a_second(browser, busy):
    """The best of five, for what else a machine does only adds; on a slow one, twice what the least of pages takes."""
    paints, floors = [], []
    for _ in range(5):
        with watched(browser, busy.url, **DESK) as page:
            page.goto("/sandbox")  # so that the browser's own start is over; nothing of this page is known yet
            page.goto("/")
            expect(page.locator(".problems li").first).to_be_visible()
            paints.append(page.evaluate(FIRST_PAINT))
        context = browser.new_context(base_url=busy.url)
        page = context.new_page()
        page.goto("/sandbox")
        page.goto("/livez")
        page.wait_for_function(FIRST_PAINT)
        floors.append(page.evaluate(FIRST_PAINT))
        context.close()
    measured(f"first contentful paint, ms: {sorted(map(round, paints))}; of a page of two letters {sorted(floors)}")
    assert min(paints) < max(PAINT_MS_MAX, 2 * min(floors)) or processes.busy()


def test_the_token_is_asked_for_once_and_kept_for_the_tab(browser, tmp_path):
    token = "a-token-of-more-than-thirty-two-characters"
    with World(tmp_path, {"admin_token": token}, token=token) as world:
        world.run(world.rig.customer("behind a token"))
        context = browser.new_context(base_url=world.url, locale="en-GB")
        page = context.new_page()
        page.goto("/#/topics/timeline")
        page.get_by_label("Token", exact=True).fill("not it")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That token was refused.")
        page.get_by_label("Token", exact=True).fill(token)
        page.keyboard.press("Enter")
        expect(page.locator(".live")).to_have_text("live")
        expect(page.locator(".records")).to_contain_text("message.added")
        page.reload()
        expect(page.locator(".live")).to_have_text("live")
        expect(page.locator("#token")).to_be_hidden()
        other = context.new_page()
        other.goto("/")
        expect(other.locator("#token")).to_be_visible()
        assert token not in str(context.storage_state())
        context.close()


def test_ten_thousand_conversations_stay_usable(browser, tmp_path):
    """A second each for the list and a search; on a machine that others keep busy, thrice a list of one."""
    with World(tmp_path, opener=lambda folder, about: service(folder, roles=())) as world:
        world.run(seed(world.rig, MANY))
        world.run(_register(world.rig))
        with watched(browser, world.url, **DESK) as page:
            started = time.monotonic()
            page.goto("/#/numbers")
            expect(page.locator("tbody tr")).to_have_count(1)
            one_s = time.monotonic() - started
        with watched(browser, world.url, **DESK) as page:
            started = time.monotonic()
            page.goto(f"/#/conversations/{NUMBER}")
            rows = page.locator(".conversations li")
            expect(rows).to_have_count(100)
            first_s = time.monotonic() - started
            page.locator("main").get_by_role("button", name="More").scroll_into_view_if_needed()
            expect(rows).not_to_have_count(100)
            started = time.monotonic()
            page.locator("#search").fill("person 9876")
            expect(rows).to_have_count(1)
            search_s = time.monotonic() - started
            measured(
                f"of 10,000 conversations: list {first_s:.2f} s, search {search_s:.2f} s; of one number {one_s:.2f} s"
            )
            assert first_s < max(1, 3 * one_s) or processes.busy()
            assert search_s < max(1, 3 * one_s) or processes.busy()
            rows.first.get_by_role("link").click()
            expect(page.locator("main h2")).to_contain_text("Person 9876")


async def _register(rig):
    """The number, as its owner would have stored it."""
    import msgspec

    from schemas.ports import Commit, Row
    from schemas.states import MESSAGES, Number, number_key
    from schemas.topics import partition_of

    lease = await rig.app.store.acquire(MESSAGES, partition_of(NUMBER, rig.app.log.partitions), "test", 60)
    state = Number(number=NUMBER, line="numbers", place=0)
    row = Row(msgspec.msgpack.encode(state), None, state.line, state.place)
    await rig.app.store.commit(Commit(lease, rows={number_key(NUMBER): row}))
