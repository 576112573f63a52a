-- What else was live: the templates and the configuration, by the hash of their files. `n` grows as in `generations`.
CREATE TABLE kept_sets (
    n         INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    hash      BLOB NOT NULL,
    live_from INTEGER NOT NULL,
    UNIQUE (kind, hash)
) STRICT;

CREATE TABLE kept_files (
    kind    TEXT NOT NULL,
    hash    BLOB NOT NULL,
    name    TEXT NOT NULL,
    content BLOB NOT NULL REFERENCES contents (hash),
    PRIMARY KEY (kind, hash, name)
) STRICT, WITHOUT ROWID;
