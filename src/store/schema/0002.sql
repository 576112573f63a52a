-- Books from independent counts. Rows from before know only one of each pair: the other is set equal, and nothing can be said of them.
ALTER TABLE books ADD COLUMN set_aside INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN given_back INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN undecided_kept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN unparked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN matched INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN alerts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN due INTEGER NOT NULL DEFAULT 0;
ALTER TABLE books ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0;
UPDATE books SET set_aside = quarantined, undecided_kept = undecided;

-- Two sums of the books that were not equal, and whether they are again.
CREATE TABLE imbalances (
    hour       INTEGER NOT NULL,
    feed       TEXT NOT NULL,
    topic      TEXT NOT NULL,
    seam       TEXT NOT NULL,
    left_sum   INTEGER NOT NULL,
    right_sum  INTEGER NOT NULL,
    found_at   INTEGER NOT NULL,
    settled_at INTEGER,
    PRIMARY KEY (hour, feed, topic, seam)
) STRICT, WITHOUT ROWID;
