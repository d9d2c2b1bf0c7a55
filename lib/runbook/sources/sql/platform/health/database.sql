-- SELECT 1, and the state of the server at the time of asking: connections, waiting and long transactions, size.
SELECT 1 AS answered,
       current_setting('max_connections')::int AS max_connections,
       count(*) FILTER (WHERE backend_type = 'client backend') AS connections,
       count(*) FILTER (WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()) AS active,
       count(*) FILTER (WHERE left(state, 19) = 'idle in transaction') AS idle_in_transaction,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks,
       extract(epoch FROM max(clock_timestamp() - xact_start) FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()))::float8 AS oldest_transaction_seconds,
       pg_database_size(current_database()) AS size_bytes,
       pg_is_in_recovery() AS in_recovery
FROM pg_stat_activity
