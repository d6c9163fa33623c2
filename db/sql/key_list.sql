-- API keys of a tenant, newest first, after the one named by :before and :after_id (NULL: from the newest on).
-- index: api_keys_newest
SELECT
-- @include key_columns
FROM errander.api_keys k
WHERE
    k.tenant = :tenant
    AND (
        CAST(:before AS timestamptz) IS NULL
        OR (k.created_at, k.id) < (CAST(:before AS timestamptz), CAST(:after_id AS text))
    )
ORDER BY k.created_at DESC, k.id DESC
LIMIT CAST(:n AS int)
