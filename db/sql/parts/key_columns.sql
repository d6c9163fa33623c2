    k.id, k.tenant, k.name, k.digest, k.last_four, k.scopes, k.tasks, k.max_priority, k.created_at, k.created_by,
    k.expires_at, k.revoked_at, k.last_used_at, k.replaces,
    k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS active
