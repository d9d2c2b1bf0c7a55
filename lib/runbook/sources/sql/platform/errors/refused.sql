-- Orders that were refused or failed since then, by what they say.
-- at most: 20
SELECT status::text AS status, left(coalesce(error_message, '(no message)'), 200) AS message, count(*) AS orders,
       min(placed_at) AS first_at, max(placed_at) AS last_at
FROM orders
WHERE placed_at BETWEEN %(since)s AND %(as_of)s AND (status IN ('REJECTED', 'EXPIRED') OR error_message <> '')
GROUP BY 1, 2
ORDER BY orders DESC
