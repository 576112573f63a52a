-- Version 11: what else a fresh store took over from the damaged one before it.
ALTER TABLE set_aside ADD COLUMN verdicts_carried INTEGER NOT NULL DEFAULT 0;
ALTER TABLE set_aside ADD COLUMN quiet_carried INTEGER NOT NULL DEFAULT 0;
