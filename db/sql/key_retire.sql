-- Ends an API key :seconds from now, unless it ends before that: its successor is there.
-- index: api_keys_pkey
UPDATE errander.api_keys k
SET expires_at = least(k.expires_at, now() + make_interval(secs => CAST(:seconds AS float8)))
WHERE k.id = :id AND k.tenant = :tenant
RETURNING
-- @include key_columns
