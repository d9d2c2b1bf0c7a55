-- The risk limits of the session in question, as its configuration has them, and the portfolio's value at the report.
SELECT s.session_id::text AS session_id, s.mode::text AS mode, s.started_at, s.initial_capital,
       s.config -> 'risk' ->> 'max_position_size' AS max_position_size, s.config -> 'trading' ->> 'max_positions' AS max_positions,
       s.config -> 'risk' ->> 'default_stop_loss' AS default_stop_loss, s.config -> 'risk' ->> 'min_confidence' AS min_confidence,
       s.config -> 'risk' ->> 'max_daily_loss' AS max_daily_loss,
       m.total_value AS equity, m.metric_time AS equity_at, CASE WHEN s.total_pnl <> 'NaN' THEN s.initial_capital + s.total_pnl END AS stored_equity,
       s.stopped_at IS NULL OR s.stopped_at > %(as_of)s AS is_open
FROM trading_sessions s
LEFT JOIN LATERAL (
    SELECT m.total_value, m.metric_time FROM performance_metrics m
    WHERE m.session_id = s.session_id AND m.metric_time <= %(as_of)s AND m.total_value <> 'NaN'
    ORDER BY m.metric_time DESC LIMIT 1
) m ON true
WHERE s.created_at <= %(as_of)s
ORDER BY (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s) DESC, (s.mode = 'LIVE') DESC, s.created_at DESC
LIMIT 1
