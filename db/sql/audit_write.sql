-- Adds a row to the audit log, in the transaction of what it tells, so that neither is there without the other.
-- index: none; it only adds
INSERT INTO errander.audit (
    tenant, actor, actor_key, action, object_kind, object_id, object_ids, before, after, reason, request_id, address
)
VALUES (
    CAST(:tenant AS text), CAST(:actor AS text), CAST(:actor_key AS text), CAST(:action AS text),
    CAST(:object_kind AS text), CAST(:object_id AS text), CAST(:object_ids AS uuid[]), CAST(:was AS jsonb),
    CAST(:became AS jsonb), CAST(:reason AS text), CAST(:request_id AS text), CAST(:address AS text)
)
RETURNING id
