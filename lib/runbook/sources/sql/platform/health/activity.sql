-- Who holds the server's connections at the time of asking, the 20 with the most first. Statements are left out: they hold data.
SELECT coalesce(usename::text, '(not visible)') AS role, coalesce(nullif(application_name, ''), '(unnamed)') AS application,
       coalesce(state, '(not visible)') AS state, coalesce(wait_event_type, '') AS waits_for, count(*) AS connections,
       extract(epoch FROM max(clock_timestamp() - coalesce(xact_start, state_change)))::float8 AS longest_seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3, 4
ORDER BY connections DESC, longest_seconds DESC NULLS LAST
LIMIT 20
