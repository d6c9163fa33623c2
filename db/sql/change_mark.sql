-- Where changes are looked for from now on: the database's time, and the newest row of the history.
-- index: history_pkey
SELECT now() AS at, coalesce(max(h.id), 0) AS top FROM errander.history h
