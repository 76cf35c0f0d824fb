"""`make bench-cluster`: start the broker and the database of the tests beside the load, and measure P6 and P7."""

import os
import sys

from tests.kafka import broker


def main():
    """Exit 0 when every goal that was measured is met, or when there is no broker to be had, and why."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usable)})  # for the broker and the database, which inherit it
    try:
        os.environ["COEXIST_KAFKA_BOOTSTRAP_SERVERS"] = broker._kafka()
        os.environ["COEXIST_DATABASE_URL"] = broker._postgres()
    except broker.NotToBeHad as problem:
        sys.stderr.write(f"P6 and P7 were not measured: {problem}.\n")
        return
    os.sched_setaffinity(0, usable)
    from services.bench.goals import main as measure

    sys.exit(0 if measure(sys.argv[1:] or ["P6", "P7"]) else 1)


if __name__ == "__main__":
    main()
