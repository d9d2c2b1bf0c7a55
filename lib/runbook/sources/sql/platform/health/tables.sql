-- The tables that are meant: their size, live and dead rows, and when they were last cleaned.
-- at most: 10
SELECT relname::text AS table_name, pg_total_relation_size(relid) AS bytes, n_live_tup AS live_rows, n_dead_tup AS dead_rows,
       greatest(last_vacuum, last_autovacuum) AS last_vacuum, greatest(last_analyze, last_autoanalyze) AS last_analyze
FROM pg_stat_user_tables
WHERE relname = ANY (%(names)s)
ORDER BY bytes DESC
