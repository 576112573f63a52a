-- Deliveries that are late or given up: whom it was told, and by which other way the message went.
-- `away`: microseconds for which no redflag ran, all stops together. A horizon is counted in running time: what was written before a
-- long stop is not dead at its end.
ALTER TABLE service ADD COLUMN alive_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE service ADD COLUMN away INTEGER NOT NULL DEFAULT 0;

-- `away`: the service's when the delivery was written. `late_at`: from when on the message is to go another way; null once it does, or
-- needs to no more. `told`: 0 as long as the operators are to hear of its trouble.
ALTER TABLE deliveries ADD COLUMN severity TEXT NOT NULL DEFAULT 'high';
ALTER TABLE deliveries ADD COLUMN purpose TEXT NOT NULL DEFAULT 'alert';
ALTER TABLE deliveries ADD COLUMN away INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN late_at INTEGER;
ALTER TABLE deliveries ADD COLUMN told INTEGER NOT NULL DEFAULT 1;

UPDATE deliveries SET
    severity = coalesce((SELECT json_extract(facts, '$.severity') FROM messages WHERE id = message), 'high'),
    purpose = coalesce((SELECT json_extract(facts, '$.purpose') FROM messages WHERE id = message), 'alert'),
    late_at = CASE WHEN wake_at IS NULL THEN NULL ELSE due_at + 3600000000 END;

CREATE INDEX deliveries_late ON deliveries (late_at) WHERE late_at IS NOT NULL;
CREATE INDEX deliveries_untold ON deliveries (channel) WHERE told = 0;
CREATE INDEX deliveries_dead_alarms ON deliveries (message) WHERE state = 'dead' AND purpose = 'alarm';
