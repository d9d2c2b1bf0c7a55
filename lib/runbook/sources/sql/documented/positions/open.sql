-- Open positions (status OPEN) at the report, marked to the last close, else to their current price, with their stops and who opened them.
-- at most: 200
SELECT p.symbol, p.side::text AS side, p.quantity, p.entry_price,
       coalesce(c.close, p.current_price, p.entry_price) AS last_price, c.close_time AS priced_at,
       CASE WHEN p.side = 'SHORT' THEN -1 ELSE 1 END * p.quantity * (coalesce(c.close, p.current_price, p.entry_price) - p.entry_price) AS unrealized_pnl,
       p.quantity * coalesce(c.close, p.current_price, p.entry_price) AS notional,
       p.stop_loss, p.take_profit, p.entry_time, coalesce(p.metadata ->> 'agent_name', '(not recorded)') AS agent,
       p.id::text AS position_id
FROM positions p
LEFT JOIN LATERAL (
    SELECT close, close_time FROM candlesticks c
    WHERE c.symbol = p.symbol AND c.interval = '1m' AND c.open_time <= %(as_of)s AND c.close <> 'NaN'
    ORDER BY c.open_time DESC LIMIT 1
) c ON true
WHERE p.entry_time <= %(as_of)s AND p.status = 'OPEN'
ORDER BY unrealized_pnl
