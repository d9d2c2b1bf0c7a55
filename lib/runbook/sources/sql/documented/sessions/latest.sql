-- Trading sessions as of the report: all that ran at the alert's moment, live before paper, the deepest drawdown first, and the 5 latest.
-- at most: 100
SELECT s.session_id::text AS session_id, s.mode::text AS mode, s.symbol, s.exchange, s.started_at, s.stopped_at,
       s.initial_capital, s.final_capital, s.total_trades, s.winning_trades, s.losing_trades, s.total_pnl, s.max_drawdown,
       s.roi_percentage / 100 AS roi, h.open_positions, s.config -> 'risk' ->> 'max_drawdown' AS max_drawdown_limit
FROM trading_sessions s
LEFT JOIN LATERAL (
    SELECT count(*) AS open_positions, sum(p.quantity * p.entry_price) FILTER (WHERE p.quantity * p.entry_price <> 'NaN') AS held
    FROM positions p
    WHERE p.session_id = s.session_id AND (p.entry_time <= %(as_of)s OR p.entry_time IS NULL) AND p.status = 'OPEN'
) h ON true
WHERE s.created_at <= %(as_of)s
  AND (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s
       OR s.created_at >= (SELECT min(l.created_at) FROM (SELECT created_at FROM trading_sessions WHERE created_at <= %(as_of)s
                                                          ORDER BY created_at DESC LIMIT 5) l))
ORDER BY (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s) DESC, (s.mode = 'LIVE') DESC,
         nullif(s.max_drawdown, 'NaN') DESC NULLS LAST, h.held DESC NULLS LAST, s.created_at DESC
