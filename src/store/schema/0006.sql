-- Version 6: people act on alerts, deliveries and quarantined bytes, and who did what is kept.

ALTER TABLE alerts ADD COLUMN state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'closed'));
CREATE INDEX alerts_handled ON alerts (state, n) WHERE state <> 'open';

-- A person gave it up: a dead letter that waits for nobody.
ALTER TABLE deliveries ADD COLUMN dropped_at INTEGER;

-- `state` is open, wanted (a person wants it judged; the engine takes it up) or retried. What came of it stands here.
ALTER TABLE quarantine ADD COLUMN outcome TEXT;
CREATE INDEX quarantine_wanted ON quarantine (state) WHERE state = 'wanted';

-- `actor` is the name, `detail` the note that a person gave.
ALTER TABLE audit ADD COLUMN uid INTEGER;
ALTER TABLE audit ADD COLUMN pid INTEGER;
ALTER TABLE audit ADD COLUMN via TEXT NOT NULL DEFAULT 'service' CHECK (via IN ('socket', 'direct', 'service'));
ALTER TABLE audit ADD COLUMN claims TEXT;
ALTER TABLE audit ADD COLUMN state_before TEXT;
ALTER TABLE audit ADD COLUMN state_after TEXT;
-- The place of the digest over this row and the one before it; nothing fills it yet.
ALTER TABLE audit ADD COLUMN chain BLOB;
CREATE INDEX audit_object ON audit (object, n);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit record is append-only');
END;

CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit record is append-only');
END;
