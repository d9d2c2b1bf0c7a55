-- Who writes to audit_logs: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT concat_ws(', ', event_type, severity, user_id) AS kind,
       count(*) FILTER (WHERE "timestamp" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "timestamp" <= %(as_of)s - interval '3 days') AS usual_day,
       min("timestamp") AS first
FROM audit_logs
WHERE "timestamp" > %(as_of)s - interval '4 days' AND "timestamp" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
