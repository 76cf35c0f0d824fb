"""P8: the sender against a Graph that takes everything, beside a bare loop of the same client; and one fast number."""

import tempfile
from collections.abc import Iterator

from services.bench.line import Line, Say, median
from services.bench.rig import cores, listening, result

ROUNDS = 3
IN_FLIGHT = 80
COUNT = 2_000
NUMBERS = 12
RATE_PER_S = 1_000
P8_RATIO = 0.7


def sending(say: Say) -> Iterator[Line]:
    """P8: sends a second of the sender role, its log and its state included; the floors on the same core.

    The floor is the client as the sender has it, in small pools; one pool for all is much slower, and told beside it.
    """
    pools: list[float] = []
    small: list[float] = []
    many: list[float] = []
    one: list[float] = []
    with listening("services.bench.graph", "graph", cores()[1]) as port:
        for turn in range(ROUNDS):
            say(f"round {turn + 1} of {ROUNDS}")
            floor = result(["services.bench.graph", "loop", str(port), str(IN_FLIGHT), str(COUNT)], cores()[0])
            pools.append(floor["one_pool"])
            small.append(floor["small_pools"])
            many.append(_ours(port, NUMBERS))
            one.append(_ours(port, 1))
    ratio = median([ours / floor for ours, floor in zip(many, small, strict=True)])
    floor, figure = f"{median(small):,.0f}/s", f"{median(many):,.0f}/s"
    met = ratio >= P8_RATIO
    yield Line("P8", f"sends, {NUMBERS} numbers", f"≥ {P8_RATIO:.1f}", floor, figure, f"{ratio:.2f}", met)
    wide = median([ours / floor for ours, floor in zip(many, pools, strict=True)])
    yield Line("P8", f"the same, beside one pool of {IN_FLIGHT}", "", f"{median(pools):,.0f}/s", "", f"{wide:.2f}")
    part = median([ours / floor for ours, floor in zip(one, small, strict=True)])
    yield Line("P8", f"sends, one number of {RATE_PER_S:,}/s", "", floor, f"{median(one):,.0f}/s", f"{part:.2f}")


def _ours(port: int, numbers: int) -> float:
    with tempfile.TemporaryDirectory(prefix="coexist-bench-") as folder:
        arguments = [folder, *map(str, (port, numbers, RATE_PER_S, COUNT))]
        return float(result(["services.bench.graph", "sender", *arguments], cores()[0])["per_s"])
