"""Phone numbers as Meta writes them: digits without `+`, in variants that mean one person.

The match key is only ever compared; what was received is what is stored and answered to (Meta contract 3.16, 12.3).
"""

from functools import lru_cache

_NOT_DIGITS = {ord(c): None for c in "+ -().\u00a0\u202f\u2011"}


def digits(phone: str) -> str:
    """The digits of a phone number however it was written; empty when something else stands in it."""
    bare = phone.translate(_NOT_DIGITS)
    return bare if bare.isascii() and bare.isdigit() else ""


@lru_cache(maxsize=8_192)
def match_key(phone: str) -> str:
    """One form for the variants of one number: Brazil's ninth digit, Mexico's 521, Argentina's 549.

    Brazilian landlines (eight digits that start with 2 to 5) have no ninth digit and stay as they are.
    """
    bare = digits(phone)
    if bare.startswith("55") and len(bare) == 12 and bare[4] in "6789":
        return f"{bare[:4]}9{bare[4:]}"
    if bare.startswith("521") and len(bare) == 13:
        return "52" + bare[3:]
    if bare.startswith("549") and len(bare) == 13:
        return "54" + bare[3:]
    return bare or phone
