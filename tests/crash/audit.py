"""The audit of what has come to rest: Meta's ledger and the writers of commands against what was told."""

from tests.crash.books import Timeline, ends, lost, sent_twice, unheard


def audit(books, sandbox, writers, marks=()):
    """Assert that nothing is lost, left out, told or sent twice; what was counted, as a sentence."""
    told, ledger = Timeline(books), sandbox.call("GET", "/ledger/items")
    requests = sandbox.call("GET", "/ledger/sends")
    accepted = {send["wamid"] for send in requests if send["wamid"]}
    acknowledged = sum(1 for item in ledger if item["acknowledged"])
    missing, gaps = lost(books, told, ledger), books.gaps().total()
    twice, unflagged = sent_twice(books, requests)
    commands = [command for writer in writers for command in writer.taken]
    outcomes = ends(books)
    report = (
        f"{acknowledged} items acknowledged, {len(missing)} lost, {told.repeated} told twice, {gaps} gaps in seq; "
        f"{len(commands)} commands, {len(accepted)} messages accepted by Meta, "
        f"{len(twice)} sent twice against their policy, {len(unflagged)} unflagged"
    )
    print(report)  # noqa: T201 - for whoever reads the failure
    assert missing == []
    assert acknowledged == len(ledger)
    assert unheard(books, marks) == []
    assert (told.repeated, gaps) == (0, 0), report
    assert (twice, unflagged) == (set(), set())
    assert accepted <= set(told.added)
    assert {command: outcomes[command] for command in commands} == dict.fromkeys(commands, 1)
    return report
