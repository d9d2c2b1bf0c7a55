-- How fresh is the data: the last fill, order, signal, candle and performance row as of the report.
SELECT (SELECT max(executed_at) FROM trades WHERE executed_at <= %(as_of)s) AS last_fill,
       (SELECT max(placed_at) FROM orders WHERE placed_at <= %(as_of)s) AS last_order,
       (SELECT max(created_at) FROM agent_signals WHERE created_at <= %(as_of)s) AS last_signal,
       (SELECT max(open_time) FROM candlesticks WHERE open_time <= %(as_of)s) AS last_candle,
       (SELECT interval FROM candlesticks WHERE open_time <= %(as_of)s ORDER BY open_time DESC, interval <> '1m' LIMIT 1) AS candle,
       (SELECT max(metric_time) FROM performance_metrics WHERE metric_time <= %(as_of)s) AS last_performance
