-- Version 10: gaps are looked up.

-- In words, what that came to; and when it was done with, which it is not as long as not everybody could be asked.
ALTER TABLE gaps ADD COLUMN looked_up TEXT;
ALTER TABLE gaps ADD COLUMN looked_up_at INTEGER;
