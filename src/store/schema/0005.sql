-- A missing verdict is open until it is settled: by the verdict that was given later, or by another missing one of a newer rule.
ALTER TABLE undecided ADD COLUMN settled_at INTEGER;
ALTER TABLE undecided ADD COLUMN outcome TEXT;
ALTER TABLE undecided ADD COLUMN settled_by BLOB;

CREATE INDEX undecided_open ON undecided (rule, seq) WHERE settled_at IS NULL;

-- Not only parked rules are asked again.
ALTER TABLE books RENAME COLUMN unparked TO asked_again;

-- Rules that are not asked until they are mended, or tried again.
CREATE TABLE parked (
    rule      TEXT PRIMARY KEY,
    rule_hash BLOB NOT NULL,
    at        INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    why       TEXT NOT NULL,
    tries     INTEGER NOT NULL,
    next_try  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
