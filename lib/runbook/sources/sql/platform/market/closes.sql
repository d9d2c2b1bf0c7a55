-- The last close of each bucket for the symbols that the session traded; buckets are finer from the window's start on.
-- Of the finest candles that a symbol has in the window, under either spelling; before it an hour's candles where buckets are as wide.
-- at most: 5000
WITH traded AS (
    SELECT DISTINCT symbol FROM positions WHERE session_id = %(session_id)s::uuid AND (entry_time <= %(as_of)s OR entry_time IS NULL)
), spelled AS (
    SELECT symbol, unnest(ARRAY[symbol, replace(symbol, '/', ''), regexp_replace(symbol, '^(\w+?)(USDT|USDC|FDUSD|BUSD|TUSD|USD|EUR|BTC|ETH|BNB)$', '\1/\2')]) AS priced_as
    FROM traded
), finest AS (
    SELECT DISTINCT ON (s.symbol) s.symbol, s.priced_as, i.name AS fine
    FROM spelled s CROSS JOIN (VALUES ('1m', 1), ('5m', 2), ('15m', 3), ('1h', 4)) AS i (name, width)
    WHERE EXISTS (SELECT FROM candlesticks c WHERE c.symbol = s.priced_as AND c.interval = i.name
                  AND c.open_time BETWEEN %(start)s AND %(as_of)s AND c.close > 0 AND c.close <> 'NaN')
    ORDER BY s.symbol, i.width, s.priced_as <> s.symbol
), chosen AS (
    SELECT f.*, CASE WHEN %(coarse_seconds)s >= 3600 AND EXISTS (
                    SELECT FROM candlesticks c WHERE c.symbol = f.priced_as AND c.interval = '1h'
                    AND c.open_time >= %(since)s AND c.open_time < %(start)s
                ) THEN '1h' ELSE f.fine END AS coarse
    FROM finest f
)
SELECT f.symbol, f.priced_as, f.fine AS candle, c.bucket, (array_agg(c.close ORDER BY c.open_time DESC))[1] AS close,
       max(c.close_time) AS time
FROM chosen f
CROSS JOIN LATERAL (
    SELECT date_bin(make_interval(secs => %(coarse_seconds)s), open_time, %(start)s) AS bucket, close, open_time, close_time
    FROM candlesticks
    WHERE symbol = f.priced_as AND interval = f.coarse AND open_time >= %(since)s AND open_time < %(start)s
      AND close > 0 AND close <> 'NaN'
    UNION ALL
    SELECT date_bin(make_interval(secs => %(fine_seconds)s), CASE f.fine WHEN '1m' THEN open_time ELSE close_time END, %(start)s),
           close, open_time, close_time
    FROM candlesticks
    WHERE symbol = f.priced_as AND interval = f.fine AND open_time >= %(start)s AND open_time <= %(as_of)s
      AND (f.fine = '1m' OR close_time <= %(as_of)s) AND close > 0 AND close <> 'NaN'
) c
GROUP BY 1, 2, 3, 4
ORDER BY c.bucket
