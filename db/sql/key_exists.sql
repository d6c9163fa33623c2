-- Whether there is an API key that can be used. Asked once a start; keys are few, so they are read until one is found.
-- index: none
SELECT EXISTS (
    SELECT 1
    FROM errander.api_keys k
    WHERE k.revoked_at IS NULL AND least(k.expires_at, k.retires_at, 'infinity') > now()
) AS found
