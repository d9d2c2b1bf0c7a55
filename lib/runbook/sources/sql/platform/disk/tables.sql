-- The biggest tables with their indexes and dead rows; partitions and TimescaleDB chunks count for the table they belong to.
-- at most: 500
WITH RECURSIVE tree AS (
    SELECT c.oid AS root, c.oid AS part
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND left(n.nspname, 3) <> 'pg_'
      AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)
    UNION ALL
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.part
)
SELECT n.nspname AS schema,
       CASE WHEN n.nspname = '_timescaledb_internal' AND (left(r.relname, 14) = 'compress_hyper' OR left(r.relname, 11) = '_compressed')
            THEN '(compressed chunks)' ELSE r.relname END AS table,
       count(*) - count(DISTINCT t.root) AS chunks,
       sum(pg_total_relation_size(t.part)) AS total_bytes, sum(pg_indexes_size(t.part)) AS index_bytes,
       sum(greatest(c.reltuples, 0)) AS rows, sum(coalesce(s.n_dead_tup, 0)) AS dead_rows,
       max(greatest(s.last_vacuum, s.last_autovacuum)) AS vacuumed_at
FROM tree t
JOIN pg_class r ON r.oid = t.root
JOIN pg_namespace n ON n.oid = r.relnamespace
JOIN pg_class c ON c.oid = t.part
LEFT JOIN pg_stat_user_tables s ON s.relid = t.part
GROUP BY 1, 2
ORDER BY total_bytes DESC NULLS LAST
