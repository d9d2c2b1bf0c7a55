-- Open positions at the report, marked to the last close, with the portfolio's value when each was opened.
-- at most: 200
SELECT p.id::text AS position_id, p.symbol, p.side::text AS side, p.quantity, p.entry_price, p.entry_time,
       c.close AS last_price, p.quantity * coalesce(c.close, p.entry_price) AS notional, p.quantity * p.entry_price AS entry_notional,
       CASE WHEN p.side = 'SHORT' THEN -1 ELSE 1 END * p.quantity * (coalesce(c.close, p.entry_price) - p.entry_price) AS unrealized_pnl,
       p.stop_loss, coalesce(p.metadata ->> 'agent_name', '(not recorded)') AS agent, p.session_id::text AS session_id, e.total_value AS entry_equity
FROM positions p
LEFT JOIN LATERAL (
    SELECT close FROM candlesticks c
    WHERE c.symbol = p.symbol AND c.interval = '1m' AND c.open_time <= %(as_of)s AND c.close <> 'NaN'
    ORDER BY c.open_time DESC LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT m.total_value FROM performance_metrics m
    WHERE m.session_id = p.session_id AND m.symbol IS NULL AND m.metric_time <= p.entry_time AND m.total_value <> 'NaN'
    ORDER BY m.metric_time DESC LIMIT 1
) e ON true
WHERE p.entry_time <= %(as_of)s AND (p.exit_time IS NULL OR p.exit_time > %(as_of)s) AND p.quantity > 0 AND p.quantity <> 'NaN'
ORDER BY notional DESC NULLS LAST
