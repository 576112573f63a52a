-- Version 9: what back-fill compares with, and when each topic was last heard.

-- The window of a request is read from the index alone.
DROP INDEX events_received;
CREATE INDEX events_received ON events (feed, received_at, hash);

CREATE TABLE heard (
    feed    TEXT NOT NULL,
    topic   TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (feed, topic)
) STRICT, WITHOUT ROWID;

INSERT INTO heard (feed, topic, last_at) SELECT feed, topic, max(received_at) FROM events GROUP BY feed, topic;

-- A bad entry that an answer brings again is known by its bytes.
CREATE INDEX quarantine_digest ON quarantine (digest);

-- A gap may be closed later, by other means than back-fill.
ALTER TABLE gaps ADD COLUMN closed_at INTEGER;
ALTER TABLE gaps ADD COLUMN closed_by TEXT;

-- Entries that may have been an answer or a live event.
ALTER TABLE books ADD COLUMN ambiguous INTEGER NOT NULL DEFAULT 0;
