-- Lets an API key give way to its successor :seconds from now, unless it did so before.
-- index: api_keys_pkey
UPDATE errander.api_keys k
SET retires_at = least(k.retires_at, now() + make_interval(secs => CAST(:seconds AS float8)))
WHERE k.id = :id AND k.tenant = :tenant
RETURNING
-- @include key_columns
