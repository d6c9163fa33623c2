    k.id, k.tenant, k.name, k.digest, k.last_four, k.scopes, k.tasks, k.max_priority, k.created_at, k.created_by,
    k.expires_at, k.retires_at, k.revoked_at, k.last_used_at, k.replaces,
    k.revoked_at IS NULL AND least(k.expires_at, k.retires_at, 'infinity') > now() AS active
