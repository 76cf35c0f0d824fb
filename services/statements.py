"""The SQL of the store, said once. `slot` is a processor's shard: its number times 65,536 plus the shard."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS installation (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS processors (processor TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS leases (
  slot INTEGER PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL, expires_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS positions (
  slot INTEGER NOT NULL, topic TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (slot, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sequences (
  topic TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (topic, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
  id INTEGER PRIMARY KEY, slot INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
  wake_at REAL, line TEXT, place REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS states_key ON states (slot, key);
CREATE INDEX IF NOT EXISTS states_wake ON states (slot, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS states_line ON states (slot, line, place) WHERE line IS NOT NULL;
"""

SCHEMA_CLUSTER = """
CREATE TABLE IF NOT EXISTS members (
  processor TEXT NOT NULL, owner TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (processor, owner)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  slot INTEGER NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL, last INTEGER NOT NULL,
  count INTEGER NOT NULL, batch BLOB NOT NULL, PRIMARY KEY (slot, topic, part, last)
) WITHOUT ROWID;
"""
"""What only several processes need: who works for what, and what is to be published. A row of `outbox` is a batch
for one partition of a topic; its records have the running numbers up to `last`."""

INSTALLATION_KEY_MAKE = "INSERT INTO installation VALUES ('key', ?) ON CONFLICT DO NOTHING"
INSTALLATION_KEY = "SELECT value FROM installation WHERE name = 'key'"

LEASE = "SELECT owner, epoch, expires_at FROM leases WHERE slot = ?"
LEASE_TAKE = """
INSERT INTO leases (slot, owner, epoch, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at
"""
LEASE_GIVE_BACK = "UPDATE leases SET expires_at = 0 WHERE slot = ? AND owner = ? AND epoch = ?"
LEASES_HELD = "SELECT slot, owner, epoch, expires_at FROM leases WHERE slot >= ? AND slot < ? AND expires_at > 0"
LEASES_RENEW = """
UPDATE leases SET expires_at = ? WHERE slot >= ? AND slot < ? AND owner = ? AND expires_at > 0
"""

POSITIONS = "SELECT topic, position FROM positions WHERE slot = ?"
READ_BY = "SELECT slot, position FROM positions WHERE topic = ? AND slot % ? = ?"
POSITION_MOVE = """
INSERT INTO positions (slot, topic, position) VALUES (?, ?, ?)
ON CONFLICT (slot, topic) DO UPDATE SET position = excluded.position
"""

STATES = """
SELECT states.key, states.value FROM json_each(?) AS wanted CROSS JOIN states
WHERE states.slot = ? AND states.key = wanted.value
"""
STATE_PUT = """
INSERT INTO states (slot, key, value, wake_at, line, place) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (slot, key) DO UPDATE SET
  value = excluded.value, wake_at = excluded.wake_at, line = excluded.line, place = excluded.place
"""
STATE_REMOVE = "DELETE FROM states WHERE slot = ? AND key = ?"
DUE = "SELECT key FROM states WHERE slot = ? AND wake_at <= ? ORDER BY wake_at LIMIT ?"
NEXT_WAKE = "SELECT min(wake_at) FROM states WHERE slot = ? AND wake_at IS NOT NULL"
HEADS = """
SELECT key, value FROM states WHERE slot = ? AND line = ? AND place > ? AND place <= ? ORDER BY place LIMIT ?
"""

SEQUENCE = "SELECT seq FROM sequences WHERE topic = ? AND key = ?"
SEQUENCE_PUT = """
INSERT INTO sequences (topic, key, seq) VALUES (?, ?, ?)
ON CONFLICT (topic, key) DO UPDATE SET seq = excluded.seq
"""

STATES_AFTER = "SELECT key, value FROM states WHERE slot = ? AND key > ? AND key < ? ORDER BY key LIMIT ?"

COUNT = "SELECT count(*) FROM states WHERE slot = ? AND key >= ? AND key < ?"

SCAN = """
SELECT s.slot - p.number * ?2, s.key, s.value FROM processors p JOIN states s
ON s.slot >= p.number * ?2 AND s.slot < (p.number + 1) * ?3
WHERE p.processor = ?1 AND s.key >= ?4 AND s.key < ?5
"""
