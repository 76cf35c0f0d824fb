"""For subscribers: see each fact once.

Topics that carry a `seq` count it per number from 1 without gaps. After a crash of the publisher a record may come
again, with the same `seq`. Whoever stores the last `seq` together with the effect, and asks here first, has each fact
exactly once:

    for record in consumer:
        number, seq = header("ce_number"), int(header("ce_seq"))
        if is_new(last_seqs, topic, number, seq):
            apply(record)              # in the same transaction:
            save(last_seqs)            # last_seqs[topic, number] == seq

On `conversations`, which has no `seq`, keep the state with the highest `version` in its data.
"""

from collections.abc import MutableMapping


class SeqGap(Exception):
    """Records are missing between the last one that was seen and this one: read again from before the gap."""

    def __init__(self, topic: str, last: int, seq: int) -> None:
        super().__init__(f"{topic}: seq {seq} follows {last}; what stands between was not read")


def is_new(last_seqs: MutableMapping[tuple[str, str], int], topic: str, number: str, seq: int) -> bool:
    """Is this the next fact of the number on this topic? Then it is noted as seen; a repeat is False.

    A reader that begins in the middle takes the first `seq` it meets. Raises SeqGap when one was left out.
    """
    last = last_seqs.get((topic, number))
    if last is not None and seq <= last:
        return False
    if last is not None and seq != last + 1:
        raise SeqGap(topic, last, seq)
    last_seqs[topic, number] = seq
    return True
