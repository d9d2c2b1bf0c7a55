-- The TimescaleDB extension's version; no row on plain PostgreSQL.
SELECT extversion AS version FROM pg_extension WHERE extname = 'timescaledb'
