-- Open positions at the report with the newest usable close of their symbol, and the portfolio's value when each was opened.
-- A close is usable for 15 minutes, that of an hour's candle for two hours, under either spelling of the symbol.
-- at most: 200
SELECT p.id::text AS position_id, p.session_id::text AS session_id, p.symbol, p.side::text AS side, p.quantity, p.entry_price, p.entry_time,
       p.stop_loss, p.take_profit, coalesce(p.metadata ->> 'agent_name', '(not recorded)') AS agent,
       c.close, c.close_time AS closed_at, c.interval AS candle, c.symbol AS priced_as, e.total_value AS entry_equity
FROM positions p
LEFT JOIN LATERAL (
    SELECT c.symbol, c.interval, c.close, c.close_time FROM candlesticks c
    WHERE c.symbol = ANY (ARRAY[p.symbol, replace(p.symbol, '/', ''), regexp_replace(p.symbol, '^(\w+?)(USDT|USDC|FDUSD|BUSD|TUSD|USD|EUR|BTC|ETH|BNB)$', '\1/\2')])
      AND c.open_time > %(as_of)s - interval '3 hours' AND c.open_time <= %(as_of)s
      AND (c.interval = '1m' AND c.close_time > %(as_of)s - interval '15 minutes'
           OR c.interval IN ('5m', '15m', '1h') AND c.close_time <= %(as_of)s
              AND c.close_time > %(as_of)s - CASE c.interval WHEN '1h' THEN interval '2 hours' ELSE interval '15 minutes' END)
      AND c.close > 0 AND c.close <> 'NaN'
    ORDER BY c.close_time DESC, c.open_time DESC LIMIT 1
) c ON true
LEFT JOIN LATERAL (
    SELECT m.total_value FROM performance_metrics m
    WHERE m.session_id = p.session_id AND m.metric_time <= p.entry_time AND m.total_value <> 'NaN'
    ORDER BY m.metric_time DESC LIMIT 1
) e ON true
WHERE (p.entry_time <= %(as_of)s OR p.entry_time IS NULL) AND (p.exit_time IS NULL OR p.exit_time > %(as_of)s) AND p.quantity > 0
ORDER BY p.quantity * p.entry_price DESC, p.id
