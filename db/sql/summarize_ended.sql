-- Brings the BRIN index over the ends of jobs up to date with new pages of the table: until then every look by time reads
-- these whole. Autovacuum does the same, a minute later or more. How many ranges of pages that were.
-- guard: none; only the owner of the table may
-- locks: the table, against vacuum and nothing else; the caller waits a moment for it, too short to make autovacuum give way
-- index: jobs_finished, which it writes
SELECT brin_summarize_new_values(CAST('errander.jobs_finished' AS regclass)) AS ranges
