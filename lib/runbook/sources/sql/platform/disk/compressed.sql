-- What compression has saved so far, by hypertable: bytes before and after.
-- at most: 50
SELECT h.hypertable_name AS hypertable, s.before_compression_total_bytes AS before_bytes, s.after_compression_total_bytes AS after_bytes
FROM timescaledb_information.hypertables h
CROSS JOIN LATERAL hypertable_compression_stats(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) s
WHERE h.compression_enabled
