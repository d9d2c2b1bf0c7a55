-- Who writes to trades: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT symbol AS kind,
       count(*) FILTER (WHERE "executed_at" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "executed_at" <= %(as_of)s - interval '3 days') AS usual_day,
       min("executed_at") AS first
FROM trades
WHERE "executed_at" > %(as_of)s - interval '4 days' AND "executed_at" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
