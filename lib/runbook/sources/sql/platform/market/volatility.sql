-- Move, volatility and volume of every symbol since the fall began, against the day before it.
-- at most: 50
WITH candles AS (
    SELECT symbol, open_time, open, close, high, low, quote_volume,
           ln(close / lag(close) OVER (PARTITION BY symbol ORDER BY open_time)) AS log_return,
           open_time >= %(since)s AS recent
    FROM candlesticks
    WHERE interval = '1m' AND open_time BETWEEN %(since)s - interval '24 hours' AND %(as_of)s AND close > 0 AND close <> 'NaN'
)
SELECT symbol,
       (array_agg(open ORDER BY open_time) FILTER (WHERE recent))[1] AS first_close,
       (array_agg(close ORDER BY open_time DESC) FILTER (WHERE recent))[1] AS last_close,
       min(low) FILTER (WHERE recent) AS lowest,
       max(high) FILTER (WHERE recent) AS highest,
       stddev_samp(log_return) FILTER (WHERE recent) AS volatility_1m,
       stddev_samp(log_return) FILTER (WHERE NOT recent) AS usual_volatility_1m,
       avg(quote_volume) FILTER (WHERE recent) AS volume_1m,
       avg(quote_volume) FILTER (WHERE NOT recent) AS usual_volume_1m
FROM candles
GROUP BY symbol
ORDER BY symbol
