-- Chunks of every hypertable: how many are compressed, and what the uncompressed ones older than seven days take.
-- at most: 50
SELECT c.hypertable_name AS hypertable, count(*) AS chunks, count(*) FILTER (WHERE c.is_compressed) AS compressed,
       count(*) FILTER (WHERE NOT c.is_compressed AND c.range_end < %(as_of)s - interval '7 days') AS old,
       coalesce(sum(pg_total_relation_size(format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass))
                FILTER (WHERE NOT c.is_compressed AND c.range_end < %(as_of)s - interval '7 days'), 0) AS old_bytes
FROM timescaledb_information.chunks c
GROUP BY 1
ORDER BY old_bytes DESC
