-- Signals, orders, fills and new sessions by time bucket of the window: how many, how many since the alert, the last.
-- at most: 5000
SELECT kind, to_timestamp(floor(extract(epoch FROM at) / %(seconds)s) * %(seconds)s) AS bucket, count(*) AS count,
       count(*) FILTER (WHERE at >= %(starts_at)s) AS since, max(at) AS last
FROM (SELECT 'signals' AS kind, created_at AS at FROM agent_signals WHERE created_at BETWEEN %(start)s AND %(as_of)s
      UNION ALL SELECT 'orders', placed_at FROM orders WHERE placed_at BETWEEN %(start)s AND %(as_of)s
      UNION ALL SELECT 'fills', executed_at FROM trades WHERE executed_at BETWEEN %(start)s AND %(as_of)s
      UNION ALL SELECT 'sessions', started_at FROM trading_sessions WHERE started_at BETWEEN %(start)s AND %(as_of)s) AS rows
GROUP BY 1, 2
ORDER BY 1, 2
