-- Counting what is late must not read all that is owed.
CREATE INDEX deliveries_overdue ON deliveries (channel) WHERE wake_at IS NOT NULL AND late_at IS NULL;
