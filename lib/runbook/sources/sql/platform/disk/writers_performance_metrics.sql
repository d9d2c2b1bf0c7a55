-- Who writes to performance_metrics: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT session_id::text AS kind,
       count(*) FILTER (WHERE "metric_time" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "metric_time" <= %(as_of)s - interval '3 days') AS usual_day,
       min("metric_time") AS first
FROM performance_metrics
WHERE "metric_time" > %(as_of)s - interval '4 days' AND "metric_time" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
