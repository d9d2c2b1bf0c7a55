-- What can hold WAL back: replication slots, a failing archiver, settings; how big this database is, and what this role may list.
SELECT pg_database_size(current_database()) AS database_bytes,
       pg_size_bytes(current_setting('max_wal_size')) AS max_wal_bytes,
       has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS may_list,
       current_setting('archive_mode') AS archive_mode,
       current_setting('logging_collector') AS logging_collector,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       (SELECT string_agg(slot_name::text, ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE NOT active) AS inactive_slots,
       (SELECT max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn))
        FROM pg_replication_slots) AS retained_bytes,
       (SELECT failed_count FROM pg_stat_archiver) AS archive_failures,
       (SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver) AS archive_fails_now,
       (SELECT last_failed_time FROM pg_stat_archiver) AS archive_failed_at
