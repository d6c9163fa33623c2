-- Keeps a new API key. `expires_in` counts on this clock.
-- index: api_keys_pkey
INSERT INTO errander.api_keys AS k (
    id, tenant, name, digest, last_four, scopes, tasks, max_priority, created_by, expires_at, replaces
)
VALUES (
    :id, :tenant, :name, CAST(:digest AS bytea), :last_four, CAST(:scopes AS text []), CAST(:tasks AS text []),
    CAST(:max_priority AS text), :created_by,
    coalesce(CAST(:expires_at AS timestamptz), now() + make_interval(secs => CAST(:expires_in AS float8))),
    CAST(:replaces AS text)
)
RETURNING
-- @include key_columns
