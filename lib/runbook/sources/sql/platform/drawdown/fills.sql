-- Cash and quantity changes by symbol and bucket, from every fill of the session up to the report.
SELECT t.symbol,
       date_bin(make_interval(secs => CASE WHEN t.executed_at < %(start)s THEN %(coarse_seconds)s ELSE %(fine_seconds)s END),
                t.executed_at, %(start)s) AS bucket,
       sum(CASE WHEN t.side = 'BUY' THEN t.quantity ELSE -t.quantity END) AS quantity,
       sum(CASE WHEN t.side = 'BUY' THEN -t.quote_quantity ELSE t.quote_quantity END - coalesce(t.commission, 0)) AS cash,
       count(*) AS fills
FROM orders o
JOIN trades t ON t.order_id = o.id
WHERE o.session_id = %(session_id)s::uuid AND t.executed_at <= %(as_of)s
GROUP BY 1, 2
ORDER BY 2
LIMIT 5000
