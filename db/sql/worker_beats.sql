-- Every living worker's last beat, for the observation of silence.
-- index: none; `workers` is as short as the fleet is small
SELECT id, beat_at, extract(epoch FROM now() - beat_at)::float8 AS age FROM errander.workers WHERE dead_at IS NULL
