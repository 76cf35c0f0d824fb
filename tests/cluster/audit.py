"""The audit of a cluster that has come to rest."""

from tests.crash.audit import audit as audit_what_was_told


async def audit(books, sandbox, writers, marks=()):
    """See `tests.crash.audit`; and nothing comes from an owner that had been overtaken."""
    await books.read()
    report, strays = audit_what_was_told(books, sandbox, writers, marks), await books.strays()
    assert strays.total() == 0, f"{books.astray}, {books.repeats}"
    return f"{report}; {books.repeats.total()} repeats dropped by seq, {strays.total()} strays"
