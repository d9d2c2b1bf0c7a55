-- The 10 slowest statements of this database by mean time, their share of all time spent, and since when they count.
SELECT left(query, 400) AS query, calls, mean_exec_time AS mean_ms, max_exec_time AS max_ms,
       total_exec_time / nullif(sum(total_exec_time) OVER (), 0) AS share_of_time,
       (SELECT stats_reset FROM pg_stat_statements_info) AS counted_since
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY mean_exec_time DESC
LIMIT 10
