-- One API key of a tenant, held until the transaction ends.
-- index: api_keys_pkey
SELECT
-- @include key_columns
FROM errander.api_keys k
WHERE k.id = :id AND k.tenant = :tenant
FOR NO KEY UPDATE
