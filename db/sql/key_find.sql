-- One API key by its id alone, for whoever presents it.
-- index: api_keys_pkey
SELECT
-- @include key_columns
FROM errander.api_keys k
WHERE k.id = :id
