-- Version 1. Times are microseconds since 1970 in UTC, identities 16 bytes, digests 32 bytes, JSON is text.

CREATE TABLE schema_history (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    sqlite     TEXT NOT NULL
) STRICT;

-- One row: whether the last owner stopped in order.
CREATE TABLE service (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    opened_at INTEGER NOT NULL,
    clean     INTEGER NOT NULL
) STRICT;

INSERT INTO service (one, opened_at, clean) VALUES (1, 0, 1);

-- The journal.
CREATE TABLE events (
    seq            INTEGER PRIMARY KEY,
    feed           TEXT NOT NULL,
    topic          TEXT NOT NULL,
    spelled        TEXT,
    origin         TEXT NOT NULL,
    received_at    INTEGER NOT NULL,
    own_time       INTEGER,
    zone_assumed   INTEGER NOT NULL,
    late           INTEGER NOT NULL,
    maybe_repeat   INTEGER NOT NULL,
    batch          BLOB,
    batch_position INTEGER,
    batch_size     INTEGER,
    hash           BLOB NOT NULL,
    warnings       TEXT,
    body           TEXT NOT NULL,
    raw            TEXT NOT NULL
) STRICT;

-- Back-fill windows, and when a feed was last heard.
CREATE INDEX events_received ON events (feed, received_at);

-- Digests are random: one index over all of them would dirty a page an event. Cut into runs of 16,384 events, every insert lands in
-- the newest run, whose pages are warm; a look-up asks each run, newest first.
CREATE INDEX events_hash ON events (seq >> 14, substr(hash, 1, 8));

CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY,
    feed        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    origin      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    bytes       BLOB NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB NOT NULL,
    state       TEXT NOT NULL DEFAULT 'open'
) STRICT;

CREATE TABLE positions (
    feed     TEXT PRIMARY KEY,
    position TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Which generation judged which events. Its end is the cursor.
CREATE TABLE ledger (
    from_seq   INTEGER PRIMARY KEY,
    to_seq     INTEGER NOT NULL CHECK (to_seq >= from_seq),
    generation BLOB NOT NULL
) STRICT;

-- `facts` is the whole message, written once; the other columns serve queries.
CREATE TABLE messages (
    n          INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    facts      TEXT NOT NULL
) STRICT;

CREATE TABLE alerts (
    n              INTEGER PRIMARY KEY,
    id             BLOB NOT NULL UNIQUE,
    raised_at      INTEGER NOT NULL,
    seq            INTEGER NOT NULL REFERENCES events (seq),
    rule           TEXT NOT NULL,
    rule_hash      BLOB NOT NULL,
    title          TEXT NOT NULL,
    severity       TEXT NOT NULL,
    subject        TEXT NOT NULL,
    masked_subject TEXT NOT NULL,
    role           TEXT NOT NULL,
    message        BLOB REFERENCES messages (id)
) STRICT;

CREATE INDEX alerts_seq ON alerts (seq);
CREATE INDEX alerts_message ON alerts (message) WHERE message IS NOT NULL;

-- `wake_at`: when a worker is to take it up, the due time or the end of a running lease; null once it has ended.
CREATE TABLE deliveries (
    n           INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    message     BLOB NOT NULL REFERENCES messages (id),
    channel     TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    identity    TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'delivered', 'dead')),
    due_at      INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    wake_at     INTEGER CHECK ((wake_at IS NULL) = (state IN ('delivered', 'dead'))),
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_detail TEXT
) STRICT;

CREATE INDEX deliveries_owed ON deliveries (channel, wake_at, state) WHERE wake_at IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries (state) WHERE state = 'dead';
CREATE INDEX deliveries_message ON deliveries (message);

-- Written with the lease, before anything is sent. One without an end: nobody knows how it went.
CREATE TABLE attempts (
    delivery    INTEGER NOT NULL REFERENCES deliveries (n),
    attempt     INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    outcome     TEXT,
    detail      TEXT,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE quiet_periods (
    rule     TEXT NOT NULL,
    key      TEXT NOT NULL,
    severity TEXT NOT NULL,
    message  BLOB NOT NULL,
    from_at  INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    repeats  INTEGER NOT NULL,
    PRIMARY KEY (rule, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE undecided (
    seq       INTEGER NOT NULL,
    rule      TEXT NOT NULL,
    rule_hash BLOB NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    line      INTEGER,
    detail    TEXT NOT NULL,
    PRIMARY KEY (seq, rule, rule_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE books (
    hour           INTEGER NOT NULL,
    feed           TEXT NOT NULL,
    topic          TEXT NOT NULL,
    frames         INTEGER NOT NULL,
    decoded        INTEGER NOT NULL,
    refused        INTEGER NOT NULL,
    method_replies INTEGER NOT NULL,
    elements       INTEGER NOT NULL,
    already_had    INTEGER NOT NULL,
    journaled      INTEGER NOT NULL,
    quarantined    INTEGER NOT NULL,
    evaluated      INTEGER NOT NULL,
    owed           INTEGER NOT NULL,
    decided        INTEGER NOT NULL,
    undecided      INTEGER NOT NULL,
    PRIMARY KEY (hour, feed, topic)
) STRICT, WITHOUT ROWID;

CREATE TABLE gaps (
    id       INTEGER PRIMARY KEY,
    feed     TEXT NOT NULL,
    topics   TEXT NOT NULL,
    from_at  INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    found_at INTEGER NOT NULL,
    reason   TEXT NOT NULL
) STRICT;

-- `n` grows with each time that a generation is kept, so the highest is the one that was live last.
CREATE TABLE generations (
    n         INTEGER PRIMARY KEY,
    hash      BLOB NOT NULL UNIQUE,
    live_from INTEGER NOT NULL,
    cards     TEXT NOT NULL
) STRICT;

CREATE TABLE contents (
    hash    BLOB PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE generation_files (
    generation BLOB NOT NULL,
    name       TEXT NOT NULL,
    content    BLOB NOT NULL REFERENCES contents (hash),
    PRIMARY KEY (generation, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    n      INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
