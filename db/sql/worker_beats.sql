-- Every living worker's last beat, for the observation of silence.
SELECT id, beat_at, extract(epoch FROM now() - beat_at)::float8 AS age FROM errander.workers WHERE dead_at IS NULL
