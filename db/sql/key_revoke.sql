-- Ends an API key now; one that was revoked before stays as it is.
-- index: api_keys_pkey
UPDATE errander.api_keys k
SET revoked_at = coalesce(k.revoked_at, now())
WHERE k.id = :id AND k.tenant = :tenant
RETURNING
-- @include key_columns
