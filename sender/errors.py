"""What follows from each of Graph's error codes: the table of Meta contract 8.3, as data."""

from enum import StrEnum


class Action(StrEnum):
    """The vocabulary of Meta contract 8.2. SLOW is the number's own pace; THROTTLED a quota of its app or account."""

    RETRY = "retry"
    SLOW = "slow"
    THROTTLED = "throttled"
    PAIR = "pair"
    PAUSE_NUMBER = "pause_number"
    PAUSE_TOKEN = "pause_token"  # noqa: S105 - the name of an action
    PAUSE_TEMPLATE = "pause_template"
    TEMPLATE = "needs_template"
    DEAD = "dead"
    SUPPRESS = "suppress"
    FIX = "fix"
    LATER = "later"
    AMBIGUOUS = "ambiguous"


ACTIONS: dict[int, Action] = {
    code: action
    for action, codes in {
        Action.PAUSE_TOKEN: (0, 3, 10, 190, 131005, *range(200, 300)),
        Action.RETRY: (131057, 131208, 132069, 133004, 134101, 139102, 139103, 2494100),
        Action.AMBIGUOUS: (1, 2, 131000, 131016),
        Action.SLOW: (130429,),
        Action.THROTTLED: (4, 17, 32, 341, 613, 80007, 80008),
        Action.PAIR: (131056,),
        Action.PAUSE_NUMBER: (33, 368, 131031, 131037, 131042, 131045, 131048, 133000, 133010),
        Action.PAUSE_TEMPLATE: (131063, 131064, 132001, 132007, 132015, 132016, 132068, 134102),
        Action.TEMPLATE: (131047,),
        Action.SUPPRESS: (130403, 130497, 131050),
        Action.LATER: (131049,),
        Action.DEAD: (
            130472,
            131020,
            131021,
            131026,
            131036,
            131041,
            131062,
            134011,
            137000,
            *(code for code in range(131201, 131216) if code != 131208),
        ),
        Action.FIX: (
            *(100, 131008, 131009, 131030, 131051, 131053, 131055, 131059, 134100, 135000),
            *(132000, 132005, 132008, 132012, 132018, *range(139000, 139005)),
        ),
    }.items()
    for code in codes
}

RETRY_AFTER_S = {131057: 60.0, 131208: 60.0, 132069: 600.0, 134101: 600.0, 2494100: 120.0}
"""Codes that name their time: maintenance, a group's and a flow's own limit, a template that is being synced."""
UNKNOWN_PHONE_SUBCODE = 33
"""Code 100 with this subcode: the number is gone or was never ours."""


def action_for(code: int, http_status: int, subcode: int = 0) -> Action:
    """What follows from an error. Unknown codes by class: a refusal is final, a server's failure is tried again."""
    if code == 100 and subcode == UNKNOWN_PHONE_SUBCODE:
        return Action.PAUSE_NUMBER
    known = ACTIONS.get(code)
    if known is not None:
        return known
    if http_status == 429:
        return Action.SLOW
    return Action.RETRY if http_status >= 500 else Action.DEAD
