-- The risk limits of the sessions that ran at the alert's moment, else of the last one, as their configuration has them, and what each is worth.
-- Live before paper, the one that holds most first.
-- at most: 100
SELECT s.id::text AS session_id, s.mode::text AS mode, s.symbol, s.started_at, s.initial_capital,
       s.config -> 'risk' ->> 'max_position_size' AS max_position_size, s.config -> 'trading' ->> 'max_positions' AS max_positions,
       s.config -> 'risk' ->> 'default_stop_loss' AS default_stop_loss, s.config -> 'risk' ->> 'min_confidence' AS min_confidence,
       s.config -> 'risk' ->> 'max_daily_loss' AS max_daily_loss,
       m.total_value AS equity, m.metric_time AS equity_at, CASE WHEN s.total_pnl <> 'NaN' THEN s.initial_capital + s.total_pnl END AS stored_equity,
       s.stopped_at IS NULL OR s.stopped_at > %(as_of)s AS is_open
FROM trading_sessions s
LEFT JOIN LATERAL (
    SELECT m.total_value, m.metric_time FROM performance_metrics m
    WHERE m.session_id = s.id AND m.metric_time <= %(as_of)s AND m.total_value <> 'NaN'
    ORDER BY m.metric_time DESC LIMIT 1
) m ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS open_positions, sum(p.quantity * p.entry_price) FILTER (WHERE p.quantity * p.entry_price <> 'NaN') AS held
    FROM positions p
    WHERE p.session_id = s.id AND (p.entry_time <= %(as_of)s OR p.entry_time IS NULL) AND (p.exit_time IS NULL OR p.exit_time > %(as_of)s)
) h ON true
WHERE s.created_at <= %(as_of)s
  AND (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s
       OR s.created_at = (SELECT max(created_at) FROM trading_sessions WHERE created_at <= %(as_of)s))
ORDER BY (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s) DESC, (s.mode = 'LIVE') DESC, h.held DESC NULLS LAST, s.created_at DESC
