-- How many jobs run: as many as the fleet has slots, at most.
-- index: none; the table is as large as the fleet
SELECT count(*) AS running FROM errander.running r
