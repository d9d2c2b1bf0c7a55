-- Portfolio value by bucket: lowest, highest and last; buckets are finer from the window's start on.
-- The highest and lowest of each bucket are kept, so a drawdown cannot hide inside one. A session trades one symbol.
-- at most: 4000
SELECT date_bin(make_interval(secs => CASE WHEN metric_time < %(start)s THEN %(coarse_seconds)s ELSE %(fine_seconds)s END),
                metric_time, %(start)s) AS bucket,
       min(total_value) FILTER (WHERE total_value <> 'NaN') AS low, max(total_value) FILTER (WHERE total_value <> 'NaN') AS high,
       (array_agg(total_value ORDER BY metric_time DESC) FILTER (WHERE total_value <> 'NaN'))[1] AS last,
       max(metric_time) FILTER (WHERE total_value <> 'NaN') AS time,
       count(*) AS rows, count(*) FILTER (WHERE total_value = 'NaN' OR total_value IS NULL) AS unusable
FROM performance_metrics
WHERE session_id = %(session_id)s::uuid AND metric_time <= %(as_of)s
GROUP BY 1
ORDER BY 1
