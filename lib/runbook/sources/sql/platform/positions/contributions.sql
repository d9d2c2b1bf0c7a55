-- What each position added to the portfolio's value between two moments: price moves while it was held, less the fees paid then.
-- Prices at the two ends are the newest usable closes (see exposure/open); without one a position is counted as unpriced.
-- The agent is the recorded one, else inferred: that of the last signal for the symbol and side within ten minutes before the entry.
-- at most: 200
WITH held AS (
    SELECT p.*, p.entry_time < %(since)s AS was_open, p.exit_time IS NULL OR p.exit_time > %(as_of)s AS is_open
    FROM positions p
    WHERE p.session_id = %(session_id)s::uuid AND p.entry_time <= %(as_of)s
      AND (p.exit_time IS NULL OR p.exit_time > %(since)s)
), marks AS (
    SELECT s.symbol, min(c.close) FILTER (WHERE m.at = %(since)s) AS since_close, min(c.close) FILTER (WHERE m.at = %(as_of)s) AS last_close
    FROM (SELECT DISTINCT symbol FROM held) s
    CROSS JOIN (SELECT DISTINCT unnest(ARRAY[%(since)s, %(as_of)s]::timestamptz[]) AS at) m
    LEFT JOIN LATERAL (
        SELECT c.close FROM candlesticks c
        WHERE c.symbol = ANY (ARRAY[s.symbol, replace(s.symbol, '/', ''), regexp_replace(s.symbol, '^(\w+?)(USDT|USDC|FDUSD|BUSD|TUSD|USD|EUR|BTC|ETH|BNB)$', '\1/\2')])
          AND c.open_time > m.at - interval '3 hours' AND c.open_time <= m.at
          AND (c.interval = '1m' AND c.close_time > m.at - interval '15 minutes'
               AND (c.close_time <= m.at OR m.at = %(as_of)s)
               OR c.interval IN ('5m', '15m', '1h') AND c.close_time <= m.at
                  AND c.close_time > m.at - CASE c.interval WHEN '1h' THEN interval '2 hours' ELSE interval '15 minutes' END)
          AND c.close > 0 AND c.close <> 'NaN'
        ORDER BY c.close_time DESC, c.open_time DESC LIMIT 1
    ) c ON true
    GROUP BY s.symbol
), valued AS (
    SELECT h.symbol, h.side::text AS side, h.is_open,
           coalesce(h.metadata ->> 'agent_name', g.agent_name, '(not recorded)') AS agent,
           CASE WHEN h.metadata ->> 'agent_name' IS NULL THEN extract(epoch FROM h.entry_time - g.created_at)::float8 END AS apart_seconds,
           CASE WHEN h.side = 'SHORT' THEN -1 ELSE 1 END * h.quantity
             * (CASE WHEN h.is_open THEN m.last_close ELSE h.exit_price END
                - CASE WHEN h.was_open THEN m.since_close ELSE h.entry_price END) AS moved,
           coalesce(h.fees, 0) * CASE WHEN h.was_open THEN CASE WHEN h.is_open THEN 0 ELSE 0.5 END ELSE 1 END AS fees,
           h.quantity * CASE WHEN h.was_open THEN m.since_close ELSE h.entry_price END AS notional
    FROM held h
    JOIN marks m USING (symbol)
    LEFT JOIN LATERAL (
        SELECT g.agent_name, g.created_at FROM agent_signals g
        WHERE h.metadata ->> 'agent_name' IS NULL AND (g.session_id = h.session_id OR g.session_id IS NULL) AND g.symbol = h.symbol
          AND g.signal::text = CASE h.side::text WHEN 'SHORT' THEN 'SELL' WHEN 'LONG' THEN 'BUY' END
          AND g.created_at BETWEEN h.entry_time - interval '10 minutes' AND h.entry_time
        ORDER BY g.created_at DESC LIMIT 1
    ) g ON true
), usable AS (
    SELECT *, moved IS NOT NULL AND moved <> 'NaN' AND fees <> 'NaN' AS is_usable FROM valued
)
SELECT agent, symbol, side, count(*) AS positions, count(*) FILTER (WHERE is_open) AS open,
       sum(moved - fees) FILTER (WHERE is_usable) AS pnl, sum(moved) FILTER (WHERE is_usable) AS moved,
       sum(fees) FILTER (WHERE is_usable) AS fees, sum(notional) FILTER (WHERE is_usable) AS notional,
       count(*) FILTER (WHERE NOT is_usable) AS unusable,
       count(apart_seconds) AS inferred, max(apart_seconds) AS apart_seconds
FROM usable
GROUP BY 1, 2, 3
ORDER BY pnl
