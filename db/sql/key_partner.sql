-- The API key that a rotation has left good beside this one: its successor, or the key that it replaces (:replaces).
-- index: api_keys_newest
SELECT
-- @include key_columns
FROM errander.api_keys k
WHERE
    k.tenant = :tenant
    AND (k.replaces = :id OR k.id = CAST(:replaces AS text))
    AND k.revoked_at IS NULL
    AND least(k.expires_at, k.retires_at, 'infinity') > now()
ORDER BY k.created_at DESC, k.id DESC
LIMIT 1
