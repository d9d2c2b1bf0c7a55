-- Portfolio value by bucket: lowest, highest and last; buckets are finer from the window's start on.
-- The highest and lowest of each bucket are kept, so a drawdown cannot hide inside one.
-- at most: 4000
SELECT date_bin(make_interval(secs => CASE WHEN metric_time < %(start)s THEN %(coarse_seconds)s ELSE %(fine_seconds)s END),
                metric_time, %(start)s) AS bucket,
       min(total_value) AS low, max(total_value) AS high,
       (array_agg(total_value ORDER BY metric_time DESC))[1] AS last,
       max(metric_time) AS time, max(max_drawdown) AS stored_drawdown
FROM performance_metrics
WHERE session_id = %(session_id)s::uuid AND metric_time <= %(as_of)s AND symbol IS NULL
  AND total_value IS NOT NULL AND total_value <> 'NaN'
GROUP BY 1
ORDER BY 1
