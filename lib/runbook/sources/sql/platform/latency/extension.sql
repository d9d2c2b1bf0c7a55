-- Is pg_stat_statements installed in this database?
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS installed
