"""The SQL that only Postgres is asked: leases by its clock, and whole batches in one statement.

A commit is a single statement, so it is one transaction and one round trip, and a process that stops in the middle
leaves no lock behind. Every part of it hangs on `fence`, which locks the lease's row while the epoch is still ours.
"""

NOW = "extract(epoch FROM clock_timestamp())::float8"

PROCESSOR = "SELECT number FROM processors WHERE processor = $1"
PROCESSOR_MAKE = """
INSERT INTO processors SELECT $1, coalesce(max(number) + 1, 0) FROM processors ON CONFLICT DO NOTHING
"""

ACQUIRE = f"""
INSERT INTO leases (slot, owner, epoch, expires_at) VALUES ($1, $2, 1, {NOW} + $3)
ON CONFLICT (slot) DO UPDATE
SET owner = excluded.owner, epoch = leases.epoch + 1, expires_at = excluded.expires_at
WHERE leases.owner = excluded.owner OR leases.expires_at <= {NOW}
RETURNING epoch
"""  # noqa: S608 - a constant
RENEW = f"""
UPDATE leases SET expires_at = {NOW} + $4 WHERE slot = $1 AND owner = $2 AND epoch = $3 RETURNING slot
"""  # noqa: S608 - a constant
GIVE_BACK = "UPDATE leases SET expires_at = 0 WHERE slot = $1 AND owner = $2 AND epoch = $3"

ATTEND = f"""
INSERT INTO members (processor, owner, expires_at) VALUES ($1, $2, {NOW} + $3)
ON CONFLICT (processor, owner) DO UPDATE SET expires_at = excluded.expires_at
"""  # noqa: S608 - a constant
FORGET_MEMBERS = f"DELETE FROM members WHERE processor = $1 AND expires_at < {NOW} - 60"  # noqa: S608 - a constant
MEMBERS = f"SELECT owner FROM members WHERE processor = $1 AND expires_at > {NOW} ORDER BY owner"  # noqa: S608
RENEW_ALL = f"""
UPDATE leases SET expires_at = {NOW} + $4
WHERE slot >= $1 AND slot < $2 AND owner = $3 AND expires_at > 0 RETURNING slot, epoch
"""  # noqa: S608 - a constant
TAKEN = f"SELECT slot FROM leases WHERE slot >= $1 AND slot < $2 AND owner <> $3 AND expires_at > {NOW}"  # noqa: S608
AT_WORK = f"SELECT count(*) FROM leases WHERE expires_at > {NOW}"  # noqa: S608 - a constant
DEPART = "DELETE FROM members WHERE processor = $1 AND owner = $2"

LOAD = "SELECT key, value FROM states WHERE slot = $1 AND key = ANY($2::bytea[])"
SEQUENCES = """
SELECT s.topic, s.key, s.seq FROM sequences s
JOIN unnest($1::text[], $2::bytea[]) AS wanted (topic, key) ON s.topic = wanted.topic AND s.key = wanted.key
"""

COMMIT = """
WITH fence AS MATERIALIZED (
  SELECT slot FROM leases WHERE slot = $1 AND owner = $2 AND epoch = $3 FOR NO KEY UPDATE
), moved AS (
  INSERT INTO positions (slot, topic, position)
  SELECT fence.slot, p.topic, p.position FROM fence, unnest($4::text[], $5::bigint[]) AS p (topic, position)
  ON CONFLICT (slot, topic) DO UPDATE SET position = excluded.position
), removed AS (
  DELETE FROM states USING fence WHERE states.slot = fence.slot AND states.key = ANY($6::bytea[])
), put AS (
  INSERT INTO states (slot, key, value, wake_at, line, place)
  SELECT fence.slot, s.key, s.value, s.wake_at, s.line, s.place
  FROM fence, unnest($7::bytea[], $8::bytea[], $9::float8[], $10::bytea[], $11::float8[])
    AS s (key, value, wake_at, line, place)
  ON CONFLICT (slot, key) DO UPDATE
  SET value = excluded.value, wake_at = excluded.wake_at, line = excluded.line, place = excluded.place
), counted AS (
  INSERT INTO sequences (topic, key, seq)
  SELECT c.topic, c.key, c.seq FROM fence, unnest($12::text[], $13::bytea[], $14::bigint[]) AS c (topic, key, seq)
  ON CONFLICT (topic, key) DO UPDATE SET seq = excluded.seq
), told AS (
  INSERT INTO outbox (slot, topic, part, last, count, batch)
  SELECT fence.slot, o.topic, o.part, o.last, o.count, o.batch
  FROM fence, unnest($15::text[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bytea[])
    AS o (topic, part, last, count, batch)
)
SELECT slot FROM fence
"""

OUTBOX = """
SELECT topic, part, last, count, batch FROM outbox WHERE slot = $1 AND topic = $2 AND part = $3 AND last > $4
ORDER BY last LIMIT $5
"""
OUTBOX_LINES = "SELECT DISTINCT topic, part FROM outbox WHERE slot = $1"
OUTBOX_DROP = """
DELETE FROM outbox USING unnest($2::text[], $3::bigint[], $4::bigint[]) AS done (topic, part, last)
WHERE slot = $1 AND outbox.topic = done.topic AND outbox.part = done.part AND outbox.last <= done.last
"""
