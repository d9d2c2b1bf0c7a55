-- Rows that each table got in the last day, and in a usual one: that three days earlier.
SELECT name AS table, count(*) FILTER (WHERE at > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE at <= %(as_of)s - interval '3 days') AS usual_day
FROM (
    SELECT 'candlesticks' AS name, open_time AS at FROM candlesticks
    WHERE (open_time > %(as_of)s - interval '1 day' AND open_time <= %(as_of)s)
       OR (open_time > %(as_of)s - interval '4 days' AND open_time <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'performance_metrics', metric_time FROM performance_metrics
    WHERE (metric_time > %(as_of)s - interval '1 day' AND metric_time <= %(as_of)s)
       OR (metric_time > %(as_of)s - interval '4 days' AND metric_time <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'audit_logs', "timestamp" FROM audit_logs
    WHERE ("timestamp" > %(as_of)s - interval '1 day' AND "timestamp" <= %(as_of)s)
       OR ("timestamp" > %(as_of)s - interval '4 days' AND "timestamp" <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'agent_signals', created_at FROM agent_signals
    WHERE (created_at > %(as_of)s - interval '1 day' AND created_at <= %(as_of)s)
       OR (created_at > %(as_of)s - interval '4 days' AND created_at <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'llm_decisions', created_at FROM llm_decisions
    WHERE (created_at > %(as_of)s - interval '1 day' AND created_at <= %(as_of)s)
       OR (created_at > %(as_of)s - interval '4 days' AND created_at <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'orders', placed_at FROM orders
    WHERE (placed_at > %(as_of)s - interval '1 day' AND placed_at <= %(as_of)s)
       OR (placed_at > %(as_of)s - interval '4 days' AND placed_at <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'trades', executed_at FROM trades
    WHERE (executed_at > %(as_of)s - interval '1 day' AND executed_at <= %(as_of)s)
       OR (executed_at > %(as_of)s - interval '4 days' AND executed_at <= %(as_of)s - interval '3 days')
    UNION ALL
    SELECT 'positions', entry_time FROM positions
    WHERE (entry_time > %(as_of)s - interval '1 day' AND entry_time <= %(as_of)s)
       OR (entry_time > %(as_of)s - interval '4 days' AND entry_time <= %(as_of)s - interval '3 days')
) AS rows
GROUP BY name
ORDER BY last_day DESC
