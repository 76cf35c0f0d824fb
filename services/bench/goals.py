"""`coexist bench`: the goals of performance as ratios to floors that are measured in the same run.

Absolute figures belong to a machine and an hour; a ratio to the least work that could do the same job travels. What
is measured runs on one core, what loads it on another.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.table import Table

from services.bench import cluster as bench_cluster
from services.bench import flow as bench_flow
from services.bench import imports as bench_import
from services.bench import ingest as bench_ingest
from services.bench import lasting as bench_lasting
from services.bench import send as bench_send
from services.bench.line import Line, Say
from services.bench.rig import BenchFailed, cores

MEMORY_EVENTS = 200_000
IMPORTED = 200_000
WIDE = 160

Measure = Callable[[Say], Iterator[Line]]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal by its number in the list of goals, and how it is measured."""

    name: str
    measure: Measure


def goals(memory_events: int, imported: int) -> tuple[Goal, ...]:
    """What is measured here; the cluster's goals where there is a cluster."""
    return (
        Goal("P1", bench_ingest.one_message),
        Goal("P2", bench_ingest.many_messages),
        Goal("P3", bench_ingest.against_pywa),
        Goal("P4", bench_flow.catching_up),
        Goal("P5", bench_flow.echo_latency),
        Goal("P6", bench_cluster.latency),
        Goal("P7", bench_cluster.throughput),
        Goal("P8", bench_send.sending),
        Goal("P9", bench_flow.growth),
        Goal("P10", partial(bench_lasting.start_and_memory, events=memory_events)),
        Goal("P11", bench_lasting.restart),
        Goal("P12", partial(bench_import.beside_an_import, messages=imported)),
    )


VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: "-"}


def main(only: list[str], memory_events: int = MEMORY_EVENTS, imported: int = IMPORTED) -> bool:
    """Measure the goals named, or all. True when every measured goal is met."""
    progress = Console(stderr=True)
    known = goals(memory_events, imported)
    chosen = [goal for goal in known if not only or goal.name in only]
    if unknown := set(only) - {goal.name for goal in known}:
        names = ", ".join(goal.name for goal in known)
        progress.print(f"{', '.join(sorted(unknown))}: not measured here. There are: {names}.", highlight=False)
        return False
    started = time.monotonic()
    lines = [
        line for place, goal in enumerate(chosen, 1) for line in _measured(goal, f"{place}/{len(chosen)}", progress)
    ]
    _show(lines, time.monotonic() - started)
    return all(line.met is not False for line in lines)


def _measured(goal: Goal, place: str, progress: Console) -> list[Line]:
    started = time.monotonic()
    with progress.status(f"{place} {goal.name}") as status:

        def say(what: str) -> None:
            text = f"{place} {goal.name}: {what}"
            status.update(text) if progress.is_terminal else progress.print(text, highlight=False)

        try:
            found = list(goal.measure(say))
        except (BenchFailed, OSError) as problem:
            found = [Line(goal.name, "could not be measured", "", "", str(problem), "", met=False)]
    progress.print(f"{place} {goal.name}: done in {time.monotonic() - started:.0f} s", highlight=False)
    return found


def _show(lines: list[Line], seconds: float) -> None:
    table = Table("goal", "what", "wanted", "floor", "ours", "ratio", "verdict", box=None, pad_edge=False)
    for line in lines:
        row = (line.goal, line.what, line.wanted, line.floor, line.figure, line.ratio)
        table.add_row(*row, VERDICTS[line.met])
    out = Console()
    if not out.is_terminal:  # there is no edge to wrap at
        out = Console(width=WIDE)
    out.print(table, highlight=False)
    served, loading = cores()
    judged = [line for line in lines if line.met is not None]
    met = sum(1 for line in judged if line.met)
    out.print(f"{met} of {len(judged)} met. {seconds:.0f} s; core {served} measured, core {loading} loaded it.")
