"""The audit of a cluster that has come to rest."""

from tests.crash.audit import audit as audit_what_was_told
from tests.processes import busy


async def audit(books, sandbox, writers, marks=()):
    """See `tests.crash.audit`; and nothing comes from an owner that had been overtaken.

    Unless a broker was so busy that a batch which it had already took longer than the next owner waits for it: then it
    comes whole, and readers drop it by `seq` (`services.outbox`), which the first audit shows.
    """
    await books.read()
    report, strays = audit_what_was_told(books, sandbox, writers, marks), await books.strays()
    assert strays.total() == 0 or busy(), f"{books.astray}, {books.repeats}"
    return f"{report}; {books.repeats.total()} repeats dropped by seq, {strays.total()} strays"
