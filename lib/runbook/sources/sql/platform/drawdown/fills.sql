-- Cash and quantity changes by symbol and bucket, from every fill of the session up to the report, and fills without a usable number.
-- OFFSET 0 keeps it to a look-up for each order: the planner can misjudge how many fills an order has, and read all there are.
-- at most: 5000
SELECT t.symbol,
       date_bin(make_interval(secs => CASE WHEN t.executed_at < %(start)s THEN %(coarse_seconds)s ELSE %(fine_seconds)s END),
                t.executed_at, %(start)s) AS bucket,
       sum(CASE WHEN t.side = 'BUY' THEN t.quantity ELSE -t.quantity END) FILTER (WHERE t.usable) AS quantity,
       sum(CASE WHEN t.side = 'BUY' THEN -t.quote_quantity ELSE t.quote_quantity END - coalesce(t.commission, 0))
           FILTER (WHERE t.usable) AS cash,
       count(*) AS fills, count(*) FILTER (WHERE NOT t.usable) AS unusable
FROM orders o
CROSS JOIN LATERAL (
    SELECT *, quantity <> 'NaN' AND quote_quantity <> 'NaN' AND coalesce(commission, 0) <> 'NaN' AS usable
    FROM trades WHERE order_id = o.id AND executed_at <= %(as_of)s AND isfinite(executed_at) OFFSET 0
) t
WHERE o.session_id = %(session_id)s::uuid
GROUP BY 1, 2
ORDER BY 2
