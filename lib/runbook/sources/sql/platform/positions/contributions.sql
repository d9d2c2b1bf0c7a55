-- What each position added to the portfolio's value between two moments: price moves while it was held, less the fees paid then.
-- Prices at the two ends are the last closes; the agent is the recorded one, else that of the last signal before the entry.
-- at most: 200
WITH held AS (
    SELECT p.*, p.entry_time < %(since)s AS was_open, p.exit_time IS NULL OR p.exit_time > %(as_of)s AS is_open
    FROM positions p
    WHERE p.session_id = %(session_id)s::uuid AND p.entry_time <= %(as_of)s
      AND (p.exit_time IS NULL OR p.exit_time > %(since)s)
), marks AS (
    SELECT s.symbol,
           (SELECT close FROM candlesticks c WHERE c.symbol = s.symbol AND c.close_time <= %(since)s AND c.interval IN ('1m', '1h')
              AND c.open_time <= %(since)s AND c.close <> 'NaN' ORDER BY c.open_time DESC LIMIT 1) AS since_close,
           (SELECT close FROM candlesticks c WHERE c.symbol = s.symbol AND c.open_time <= %(as_of)s AND c.interval = '1m'
              AND c.close <> 'NaN' ORDER BY c.open_time DESC LIMIT 1) AS last_close
    FROM (SELECT DISTINCT symbol FROM held) s
), valued AS (
    SELECT h.symbol, h.side::text AS side, h.is_open,
           coalesce(h.metadata ->> 'agent_name',
                    (SELECT g.agent_name FROM agent_signals g
                     WHERE g.session_id = h.session_id AND g.symbol = h.symbol
                       AND g.created_at BETWEEN h.entry_time - interval '10 minutes' AND h.entry_time
                     ORDER BY g.created_at DESC LIMIT 1),
                    '(not recorded)') AS agent,
           CASE WHEN h.side = 'SHORT' THEN -1 ELSE 1 END * h.quantity
             * (CASE WHEN h.is_open THEN m.last_close ELSE h.exit_price END
                - CASE WHEN h.was_open THEN m.since_close ELSE h.entry_price END) AS moved,
           coalesce(h.fees, 0) * CASE WHEN h.was_open THEN CASE WHEN h.is_open THEN 0 ELSE 0.5 END ELSE 1 END AS fees,
           h.quantity * CASE WHEN h.was_open THEN m.since_close ELSE h.entry_price END AS notional
    FROM held h
    JOIN marks m USING (symbol)
)
SELECT agent, symbol, side, count(*) AS positions, count(*) FILTER (WHERE is_open) AS open,
       sum(moved) - sum(fees) AS pnl, sum(moved) AS moved, sum(fees) AS fees, sum(notional) AS notional
FROM valued
WHERE moved IS NOT NULL AND moved <> 'NaN'
GROUP BY 1, 2, 3
ORDER BY pnl
