-- The moment up to which everything that ended is counted.
-- index: none; one row
SELECT m.folded_until FROM errander.rollup_marks m WHERE m.name = 'finished'
