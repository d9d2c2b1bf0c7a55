-- Who writes to candlesticks: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT concat_ws(', ', symbol, "interval") AS kind,
       count(*) FILTER (WHERE "open_time" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "open_time" <= %(as_of)s - interval '3 days') AS usual_day,
       min("open_time") AS first
FROM candlesticks
WHERE "open_time" > %(as_of)s - interval '4 days' AND "open_time" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
