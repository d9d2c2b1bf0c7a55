-- What runs for over a second now (the server's clock), what it waits for, and who holds it up.
-- at most: 20
SELECT pid, usename AS role, extract(epoch FROM clock_timestamp() - query_start)::float8 AS seconds,
       coalesce(wait_event_type || ': ' || wait_event, '') AS waits_for,
       array_to_string(pg_blocking_pids(pid), ', ') AS blocked_by, left(query, 300) AS query
FROM pg_stat_activity
WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND clock_timestamp() - query_start > interval '1 second'
ORDER BY query_start
