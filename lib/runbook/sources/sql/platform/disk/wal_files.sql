-- The write-ahead log's files as they lie on the volume (needs pg_monitor).
SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes, min(modification) AS oldest
FROM pg_ls_waldir()
