-- Who writes to orders: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT concat_ws(', ', symbol, type, status) AS kind,
       count(*) FILTER (WHERE "placed_at" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "placed_at" <= %(as_of)s - interval '3 days') AS usual_day,
       min("placed_at") AS first
FROM orders
WHERE "placed_at" > %(as_of)s - interval '4 days' AND "placed_at" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
