-- What still flows: rows of each kind from since to as_of, and in the 24 hours before since.
SELECT what, count(*) FILTER (WHERE at > %(since)s) AS rows_now, count(*) FILTER (WHERE at <= %(since)s) AS rows_before, max(at) AS last_at, min(at) AS first_at
FROM (
    SELECT 'orders' AS what, placed_at AS at FROM orders WHERE placed_at BETWEEN %(before)s AND %(as_of)s
    UNION ALL SELECT 'orders refused', placed_at FROM orders
              WHERE placed_at BETWEEN %(before)s AND %(as_of)s AND (status IN ('REJECTED', 'EXPIRED') OR error_message <> '')
    UNION ALL SELECT 'fills', executed_at FROM trades WHERE executed_at BETWEEN %(before)s AND %(as_of)s
    UNION ALL SELECT 'signals', created_at FROM agent_signals WHERE created_at BETWEEN %(before)s AND %(as_of)s
    UNION ALL SELECT 'LLM decisions', created_at FROM llm_decisions WHERE created_at BETWEEN %(before)s AND %(as_of)s
    UNION ALL SELECT 'performance rows', metric_time FROM performance_metrics WHERE metric_time BETWEEN %(before)s AND %(as_of)s
    UNION ALL SELECT '1m candles', open_time FROM candlesticks WHERE open_time BETWEEN %(before)s AND %(as_of)s AND interval = '1m'
) AS rows_by_time
GROUP BY what
