-- The last close of each bucket for the symbols that the session traded; buckets are finer from the window's start on.
-- at most: 5000
WITH traded AS (
    SELECT DISTINCT symbol FROM positions
    WHERE session_id = %(session_id)s::uuid AND entry_time <= %(as_of)s
    ORDER BY symbol LIMIT 12
)
SELECT c.symbol,
       date_bin(make_interval(secs => CASE WHEN c.open_time < %(start)s THEN %(coarse_seconds)s ELSE %(fine_seconds)s END),
                c.open_time, %(start)s) AS bucket,
       (array_agg(c.close ORDER BY c.open_time DESC))[1] AS close,
       max(c.close_time) AS time
FROM candlesticks c
JOIN traded USING (symbol)
WHERE c.open_time BETWEEN %(since)s AND %(as_of)s
  AND c.interval = CASE WHEN c.open_time < %(start)s AND %(coarse_seconds)s >= 3600 THEN '1h' ELSE '1m' END
  AND c.close <> 'NaN'
GROUP BY 1, 2
ORDER BY 2
