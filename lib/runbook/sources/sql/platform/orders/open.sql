-- Orders that the exchange may still fill: a restart meets them. `protects` are the stops and targets of open positions.
-- at most: 100
SELECT o.symbol, o.side::text AS side, o.type::text AS type, o.status::text AS status, o.quantity, o.executed_quantity, o.price, o.stop_price,
       o.placed_at, (p.id IS NOT NULL AND o.type::text LIKE ANY (ARRAY['STOP%%', 'TAKE%%'])) AS protects
FROM orders o
LEFT JOIN positions p ON p.id = o.position_id AND p.exit_time IS NULL
WHERE o.status IN ('NEW', 'PARTIALLY_FILLED') AND (o.placed_at <= %(as_of)s OR o.placed_at IS NULL)
ORDER BY protects, o.placed_at
