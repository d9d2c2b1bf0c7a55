-- How many candles are not older than seven days.
SELECT count(*) AS recent FROM candlesticks
WHERE open_time >= %(as_of)s - interval '7 days' AND open_time <= %(as_of)s
