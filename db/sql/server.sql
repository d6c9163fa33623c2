-- What the server is and which limits this connection has, as `errander doctor` shows them.
SELECT
    CAST(current_setting('server_version_num') AS integer) AS version,
    current_setting('server_version') AS version_text,
    CAST(current_user AS text) AS role,
    clock_timestamp() AS now,
    (
        SELECT jsonb_object_agg(s.name, s.setting || coalesce(s.unit, ''))
        FROM pg_catalog.pg_settings s
        WHERE s.name = ANY (CAST(:names AS text[]))
    ) AS settings
