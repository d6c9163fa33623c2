-- Jobs that wait, by tenant: due, due later, and waiting to be tried again.
-- index: none; it counts the whole queue, and whoever asks keeps the answer for twenty times what it took
SELECT r.tenant, count(*) AS waiting FROM errander.ready r GROUP BY r.tenant
