-- Version 3. Damaged stores that were set aside before this one was begun: numbers go on above `last`.
CREATE TABLE set_aside (
    n              INTEGER PRIMARY KEY,
    at             INTEGER NOT NULL,
    folder         TEXT NOT NULL,
    found          TEXT NOT NULL,
    last           INTEGER NOT NULL,
    judged         INTEGER NOT NULL,
    owed_carried   INTEGER NOT NULL,
    receipts_known INTEGER NOT NULL
) STRICT;

-- When each feed was last heard in the store that was set aside; back-fill goes on from there.
CREATE TABLE carried_receipts (
    feed        TEXT PRIMARY KEY,
    received_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
