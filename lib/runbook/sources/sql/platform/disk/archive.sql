-- What hangs on trading sessions older than 90 days: rows by table, in the order in which they can be deleted.
WITH old AS (SELECT id FROM trading_sessions WHERE created_at < %(as_of)s - interval '90 days'),
     old_orders AS (SELECT id FROM orders WHERE session_id IN (SELECT id FROM old))
SELECT 'trades' AS table, count(*) AS rows FROM trades WHERE order_id IN (SELECT id FROM old_orders)
UNION ALL SELECT 'orders', count(*) FROM old_orders
UNION ALL SELECT 'positions', count(*) FROM positions WHERE session_id IN (SELECT id FROM old)
UNION ALL SELECT 'agent_signals', count(*) FROM agent_signals WHERE session_id IN (SELECT id FROM old)
UNION ALL SELECT 'llm_decisions', count(*) FROM llm_decisions WHERE session_id IN (SELECT id FROM old)
UNION ALL SELECT 'performance_metrics', count(*) FROM performance_metrics WHERE session_id IN (SELECT id FROM old)
UNION ALL SELECT 'trading_sessions', count(*) FROM old
