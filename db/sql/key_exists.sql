-- Whether there is an API key that can be used. Asked once a start; keys are few, so they are read until one is found.
-- index: none
SELECT EXISTS (
    SELECT 1
    FROM errander.api_keys k
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
) AS found
