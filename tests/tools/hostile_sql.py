"""Statements that a stranger might send to do harm, by what they are after.

`{secret}` is a file whose content must never come back, `{out}` a file that must never appear,
`{port}` a port of this machine that must never be called, `{atlas}` the atlas itself.
"""

FILES = r"""
SELECT * FROM '{secret}'
FROM '{secret}'
SELECT * FROM "{secret}"
SELECT * FROM read_csv('{secret}')
SELECT * FROM read_csv_auto('{secret}')
SELECT * FROM read_text('{secret}')
SELECT * FROM read_blob('{secret}')
SELECT * FROM read_json('{secret}')
SELECT * FROM read_json_auto('{secret}')
SELECT * FROM read_json_objects('{secret}')
SELECT * FROM read_ndjson('{secret}')
SELECT * FROM read_parquet('{secret}')
SELECT * FROM parquet_scan('{secret}')
SELECT * FROM parquet_metadata('{secret}')
SELECT * FROM parquet_schema('{secret}')
SELECT * FROM parquet_kv_metadata('{secret}')
SELECT * FROM parquet_file_metadata('{secret}')
SELECT * FROM parquet_full_metadata('{secret}')
SELECT * FROM parquet_bloom_probe('{secret}', 'a', 1)
SELECT * FROM sniff_csv('{secret}')
SELECT * FROM read_duckdb('{atlas}')
SELECT * FROM glob('/*')
SELECT * FROM glob('{secret}')
SELECT * FROM '/proc/self/environ'
SELECT * FROM read_text('/proc/self/environ')
SELECT * FROM read_blob('/proc/self/maps')
SELECT * FROM read_text('/etc/passwd')
SELECT * FROM read_text('/dev/stdin')
SELECT * FROM read_csv('/etc/*')
SELECT * FROM main.read_text('{secret}')
SELECT * FROM system.main.read_text('{secret}')
SELECT * FROM query('FROM read_text(''{secret}'')')
SELECT * FROM query_table('{secret}')
SELECT * FROM query_table(['units', '{secret}'])
WITH x AS (SELECT * FROM read_text('{secret}')) SELECT * FROM x
WITH "{secret}" AS (SELECT * FROM "{secret}") SELECT * FROM "{secret}"
SELECT (SELECT content FROM read_text('{secret}'))
SELECT * FROM units WHERE uid IN (SELECT 1 FROM read_text('{secret}'))
SELECT * FROM units LIMIT (SELECT count(*) FROM read_text('{secret}'))
SELECT * FROM units ORDER BY (SELECT content FROM read_text('{secret}'))
SELECT CASE WHEN EXISTS (FROM read_text('{secret}')) THEN 1 END
SELECT count(*) FILTER (EXISTS (FROM read_text('{secret}'))) FROM units
SELECT sum(1) OVER (ORDER BY (SELECT content FROM read_text('{secret}'))) FROM units
SELECT list_transform([1], lambda x: (SELECT content FROM read_text('{secret}')))
SELECT 1 UNION ALL SELECT content FROM read_text('{secret}')
SELECT * FROM units, LATERAL (SELECT * FROM read_text('{secret}'))
FROM (PIVOT (FROM read_text('{secret}')) ON filename IN ('a') USING first(content))
VALUES ((SELECT content FROM read_text('{secret}')))
COPY units TO '{out}'
COPY (SELECT 1) TO '{out}'
COPY (SELECT 1) TO '{out}' (FORMAT parquet)
COPY units FROM '{secret}'
COPY FROM DATABASE atlas TO memory
EXPORT DATABASE '{out}'
IMPORT DATABASE '{out}'
ATTACH '{out}' AS other
ATTACH '{secret}' AS other
ATTACH '{atlas}' AS other
ATTACH ':memory:' AS other
DETACH atlas
CREATE TABLE t AS SELECT * FROM read_text('{secret}')
CREATE TABLE memory.main.t AS SELECT 1
CREATE TEMP TABLE t AS SELECT 1
CREATE VIEW v AS SELECT * FROM '{secret}'
CREATE MACRO m() AS TABLE SELECT * FROM read_text('{secret}')
INSERT INTO units SELECT * FROM units
UPDATE units SET n_images = 0
DELETE FROM units
DROP TABLE units
TRUNCATE units
ALTER TABLE units RENAME TO mine
SELECT 1; COPY units TO '{out}'
SELECT 1; SELECT * FROM read_text('{secret}')
/* */ COPY units TO '{out}'
EXPLAIN ANALYZE COPY units TO '{out}'
SELECT write_log('x')
"""

NETWORK = r"""
SELECT * FROM 'http://127.0.0.1:{port}/a.csv'
SELECT * FROM read_csv('http://127.0.0.1:{port}/a.csv')
SELECT * FROM read_parquet('http://127.0.0.1:{port}/a.parquet')
SELECT * FROM read_json('https://127.0.0.1:{port}/a.json')
SELECT * FROM read_text('http://127.0.0.1:{port}/a')
SELECT * FROM read_parquet('s3://bucket/a.parquet')
SELECT * FROM read_csv('hf://datasets/a/b/c.csv')
ATTACH 'http://127.0.0.1:{port}/a.duckdb' AS other
ATTACH 'postgres:host=127.0.0.1 port={port}' AS other (TYPE postgres)
ATTACH 'md:' AS other
INSTALL httpfs
LOAD httpfs
INSTALL httpfs FROM 'http://127.0.0.1:{port}'
INSTALL shellfs FROM community
FORCE INSTALL httpfs
UPDATE EXTENSIONS
LOAD '{secret}'
CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')
CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'a')
COPY units TO 'http://127.0.0.1:{port}/a'
SELECT * FROM postgres_scan('host=127.0.0.1 port={port}', 'public', 't')
SELECT * FROM sqlite_scan('{secret}', 't')
SELECT * FROM mysql_query('x', 'SELECT 1')
SELECT * FROM st_read('{secret}')
SELECT * FROM iceberg_scan('http://127.0.0.1:{port}/')
SELECT * FROM delta_scan('http://127.0.0.1:{port}/')
CALL start_ui()
SELECT * FROM which_secret('s3://a', 's3')
"""

SETTINGS = r"""
SET enable_external_access = true
SET lock_configuration = false
RESET lock_configuration
SET memory_limit = '100GB'
SET threads = 64
SET temp_directory = '{out}'
SET home_directory = '/'
SET file_search_path = '/'
SET secret_directory = '{out}'
SET extension_directory = '{out}'
SET custom_extension_repository = 'http://127.0.0.1:{port}'
SET log_query_path = '{out}'
SET enable_logging = true
SET search_path = 'system.main'
SET VARIABLE x = 1
SET SESSION allow_community_extensions = true
SET GLOBAL python_enable_replacements = true
PRAGMA enable_profiling
PRAGMA profiling_output = '{out}'
PRAGMA database_list
PRAGMA database_size
PRAGMA show_tables
PRAGMA table_info('units')
PRAGMA storage_info('units')
PRAGMA version
PRAGMA enable_external_access
CALL pragma_version()
CALL enable_logging()
CALL duckdb_settings()
USE memory
USE system
BEGIN TRANSACTION
COMMIT
ROLLBACK
CHECKPOINT
FORCE CHECKPOINT
VACUUM
ANALYZE
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE p
COMMENT ON TABLE units IS 'mine'
SHOW TABLES
SHOW ALL TABLES
SHOW DATABASES
DESCRIBE units
SUMMARIZE units
DESCRIBE SELECT * FROM duckdb_settings()
EXPLAIN SELECT 1
SELECT * FROM (DESCRIBE units)
SELECT * FROM (SHOW DATABASES)
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_databases()
SELECT * FROM duckdb_databases
SELECT * FROM duckdb_secrets()
SELECT * FROM duckdb_extensions()
SELECT * FROM duckdb_functions()
SELECT * FROM duckdb_logs
SELECT * FROM duckdb_memory()
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_variables()
SELECT * FROM duckdb_tables
SELECT * FROM pg_catalog.pg_settings
SELECT * FROM pg_catalog.pg_database
SELECT * FROM information_schema.tables
SELECT * FROM system.information_schema.schemata
SELECT * FROM sqlite_master
SELECT * FROM pragma_database_list
WITH duckdb_databases AS (SELECT * FROM duckdb_databases) SELECT * FROM duckdb_databases
WITH a AS (WITH sqlite_master AS (SELECT 1) SELECT 1) SELECT * FROM sqlite_master
WITH RECURSIVE pg_settings AS (SELECT * FROM pg_settings) SELECT * FROM pg_settings
SELECT current_setting('secret_directory')
SELECT current_setting('temp_directory')
SELECT getvariable('x')
SELECT getenv('HOME')
SELECT getenv('NEURON_ATLAS_SECRET')
SELECT current_query()
SELECT current_database()
SELECT pg_get_viewdef(1)
SELECT currval('s')
SELECT nextval('s')
SELECT setseed(0.5)
SELECT txid_current()
SELECT json_serialize_plan('SELECT 1')
SELECT json_deserialize_sql('{{}}')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM duckdb_settings()'))
SELECT * FROM test_all_types()
SELECT * FROM seq_scan('units')
SELECT * FROM checkpoint()
SELECT * FROM truncate_duckdb_logs()
SELECT in_search_path('a', 'b')
SELECT sleep_ms(60000)
SELECT pg_sleep(60)
SELECT inet_server_addr()
SELECT uuid FROM units AT (VERSION => 1)
"""

PYTHON = r"""
SELECT * FROM secret_table
SELECT * FROM secret_list
SELECT * FROM request
SELECT * FROM limits
SELECT * FROM self
SELECT * FROM globals
SELECT * FROM pandas_scan(0)
SELECT * FROM pandas_scan(140000000000000)
SELECT * FROM arrow_scan(0, 0, 0)
SELECT * FROM arrow_scan(1, 2, 3)
SELECT * FROM arrow_scan_dumb(1, 2, 3)
SELECT * FROM python_map_function(0)
WITH x AS (SELECT * FROM request) SELECT * FROM x
"""

MEMORY = r"""
SELECT repeat('x', 1000000000)
SELECT repeat('x', 100000000000)
SELECT repeat(repeat('x', 100000), 100000)
SELECT length(repeat(repeat('ab', 1000000), 1000))
SELECT lpad('x', 2000000000, 'y')
SELECT rpad('x', 1000000000, 'y')
SELECT list_sum(range(1000000000))
SELECT range(10000000000)
SELECT generate_series(1, 1000000000)
SELECT len(range(500000000))
SELECT list(a) FROM range(1000000000) t(a)
SELECT string_agg(a::VARCHAR, '') FROM range(1000000000) t(a)
SELECT string_agg(repeat('x', 10000), '') FROM range(1000000)
SELECT histogram(a) FROM range(1000000000) t(a)
SELECT array_agg(range(1000)) FROM range(10000000)
SELECT DISTINCT a FROM range(10000000000) t(a)
SELECT a, count(*) FROM range(10000000000) t(a) GROUP BY a
SELECT a FROM range(10000000000) t(a) ORDER BY hash(a)
SELECT median(a) FROM range(10000000000) t(a)
SELECT * FROM range(1000000000) a JOIN range(1000000000) b USING (range)
SELECT sum(x) OVER (ORDER BY x ROWS 100000 PRECEDING) FROM range(1000000000) t(x)
SELECT list_resize([1], 1000000000, 0)
SELECT list_transform(range(100000000), lambda x: range(1000))
SELECT map(range(100000000), range(100000000))
SELECT to_json(range(300000000))
SELECT unnest(range(1000000000)), repeat('x', 1000)
SELECT * FROM exemplar_activations a, exemplar_activations b, exemplar_activations c
SELECT array_to_string(range(300000000), ',')
SELECT flatten(list_transform(range(30000), lambda x: range(30000)))
SELECT regexp_replace(repeat('a', 100000000), 'a', 'bbbbbbbbbb', 'g')
SELECT replace(repeat('a', 100000000), 'a', repeat('b', 1000))
SELECT format('{{:1000000000d}}', 1)
SELECT printf('%1000000000d', 1)
SELECT to_base64(repeat('x', 900000000)::BLOB)
WITH RECURSIVE t(x) AS (SELECT 'a' UNION ALL SELECT x || x FROM t) SELECT max(length(x)) FROM t
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t, range(10)) SELECT count(*) FROM t
SELECT bar(1, 0, 1, 1000000000)
"""

TIME = r"""
SELECT count(*) FROM range(100000000000) a, range(100000) b
SELECT sum(sqrt(range)) FROM range(100000000000)
SELECT count(*) FROM units a, units b, units c, units d, units e, units f
SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))
SELECT damerau_levenshtein(repeat('a', 10000), repeat('b', 10000))
SELECT jaccard(repeat('ab', 50000000), repeat('bc', 50000000))
SELECT max(levenshtein(repeat('a', 20000), repeat('b', 20000) || a)) FROM range(1000) t(a)
WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t
WITH RECURSIVE t AS (SELECT 1 AS n UNION SELECT (n + 1) % 100000000 FROM t) SELECT max(n) FROM t
SELECT list_sum(list_transform(range(30000000), lambda x: x * x))
SELECT list_reduce(range(100000000), lambda x, y: x + y)
SELECT list_sort(list_transform(range(20000000), lambda x: hash(x)))
SELECT regexp_matches(repeat('a', 1000000), '(a*)*b')
SELECT regexp_matches(repeat('a', 100000), '(a|a|a|a)*' || repeat('a?', 400) || '$')
SELECT regexp_extract_all(repeat('a', 30000000), 'a')
SELECT count(DISTINCT sha256(a::VARCHAR)) FROM range(1000000000) t(a)
SELECT factorial(a::INT) FROM range(1000000000) t(a)
SELECT md5(repeat('x', 1000000) || a) FROM range(100000) t(a)
SELECT max(mode_of) FROM (SELECT mode(a % 1000) AS mode_of FROM range(10000000000) t(a))
SELECT approx_quantile(a, 0.5) FROM range(100000000000) t(a)
SELECT * FROM range(100000000000) WHERE range < 0
SELECT quantile_cont(a, 0.5) OVER (ROWS 1000 PRECEDING) FROM range(100000000) t(a)
SELECT count(*) FROM range(100000) a, range(100000) b WHERE a.range * b.range % 7 = 8
"""

#: What cannot be written out: too deep, too long, no text. Made from small parts.
PARSER = (
    "SELECT " + "(" * 4900 + "1" + ")" * 4900,
    "SELECT " + "-" * 9000 + "1",
    "SELECT " + "- " * 4000 + "1",
    "SELECT " + "NOT " * 2000 + "true",
    "SELECT " + "1+" * 4900 + "1",
    "SELECT " + "1 OR " * 1900 + "1",
    "SELECT " + "[" * 4900 + "]" * 4900,
    "SELECT " + "{'a':" * 1500 + "1" + "}" * 1500,
    "SELECT " + "(SELECT " * 1000 + "1" + ")" * 1000,
    "SELECT * FROM " + "(FROM " * 1200 + "units" + ")" * 1200,
    "SELECT " + "CASE WHEN true THEN " * 400 + "1" + " END" * 400,
    "SELECT " + "abs(" * 1900 + "1" + ")" * 1900,
    "SELECT " + "CAST(" * 600 + "1" + " AS INT)" * 600,
    "SELECT 1" + " UNION SELECT 1" * 600,
    "SELECT 1" + " UNION ALL SELECT 1" * 500,
    "SELECT * FROM units" + ", units" * 1200,
    "SELECT * FROM units" + " JOIN units USING (uid)" * 400,
    "SELECT * FROM units" + " NATURAL JOIN units" * 400,
    "WITH "
    + ",".join(f"c{i} AS (SELECT * FROM c{i - 1} a, c{i - 1} b)" for i in range(1, 150))
    + ", c0 AS (SELECT 1) SELECT * FROM c149",
    "WITH c0 AS (SELECT 1 AS a)"
    + "".join(f", c{i} AS (SELECT a FROM c{i - 1} UNION ALL FROM c{i - 1})" for i in range(1, 60))
    + " SELECT count(*) FROM c59",
    "SELECT " + ",".join(["*"] * 4000) + " FROM units",
    "SELECT 1 IN (" + ",".join(["1"] * 4500) + ")",
    "SELECT " + "x'" + "a" * 9000,
    "SELECT '" + "a" * 9000,
    'SELECT "' + "a" * 9000 + '"',
    "SELECT $$" + "a" * 9000,
    "SELECT 1" + "0" * 9000,
    "SELECT 1e" + "9" * 9000,
    "SELECT '" + "9" * 9000 + "'::HUGEINT",
    "SELECT 1::" + "STRUCT(a " * 1000 + "INT" + ")" * 1000,
    "SELECT 1::INT" + "[]" * 4000,
    "SELECT 1::DECIMAL(99999999999, 3)",
    "SELECT list_transform([1], " + "lambda x: list_transform([x], " * 250 + "1" + ")" * 250 + ")",
    "SELECT " + "a." * 4000 + "b",
    "SELECT " + "1;" * 4000,
    ";" * 9999,
    "/*" * 4900,
    "SELECT 1 /*" + "*" * 9000,
    "SELECT 1 --" + "x" * 9900,
    "SELECT " + "x" * 10_000,
    "SELECT 1" + " " * 1_000_000,
    "",
    " \n\t",
    "\0",
    "SELECT 1\0; SELECT 2",
    "SELECT '\ud800'",
    "\ufeffSELECT 1",
    "SELECT\u00a01",
    "SELECT '\u202e' AS \"\u200b\"",
    "ＳＥＬＥＣＴ 1",
    "SELECT regexp_matches('a', '" + "(" * 4900 + ")" * 4900 + "')",
    "SELECT regexp_matches('a', '((a{1,1000}){1,1000}){1,1000}')",
    "SELECT json_extract('" + "[" * 4900 + "', '$')",
    "SELECT json('" + "[" * 4800 + "]" * 4800 + "')",
    "SELECT strptime('" + "%d" * 2000 + "', '" + "%d" * 2000 + "')",
    "SELECT format('" + "{}" * 3000 + "', 1)",
    "SELECT printf('" + "%s" * 3000 + "', 1)",
    "SELECT printf('%n%n%n%n')",
    "SELECT printf('%s')",
)

CRASHES = r"""
SELECT 1 % 0, 1 // 0, 1 / 0
SELECT (-9223372036854775808)::BIGINT // -1
SELECT -(-9223372036854775808)
SELECT abs((-9223372036854775807 - 1)::BIGINT)
SELECT 170141183460469231731687303715884105727::HUGEINT + 1
SELECT array_slice([1, 2, 3], -9223372036854775808, 9223372036854775807)
SELECT [1, 2][-9223372036854775808]
SELECT substr('abc', -9223372036854775808, 9223372036854775807)
SELECT substr('abc', 9223372036854775807)
SELECT left('abc', -9223372036854775808)
SELECT chr(-1)
SELECT chr(1114112)
SELECT decode('\xFF\xFE'::BLOB)
SELECT '\xFF'::BLOB::VARCHAR
SELECT range(9223372036854775807, -9223372036854775808, -1)
SELECT generate_series(-9223372036854775808, 9223372036854775807)
SELECT 1 << 64, 1 << -1
SELECT bar(1, 1, 1, 0)
SELECT nth_value(uid, -1) OVER () FROM units
SELECT lag(uid, 9223372036854775807) OVER () FROM units
SELECT ntile(0) OVER () FROM units
SELECT quantile_cont(uid, 2) FROM units
SELECT approx_quantile(uid, -1) FROM units
SELECT * FROM units LIMIT -1
SELECT * FROM units LIMIT 9223372036854775807 OFFSET 9223372036854775807
SELECT * FROM units USING SAMPLE 200%
SELECT * FROM units USING SAMPLE reservoir(9223372036854775807)
SELECT date_trunc('millennium', '290000-01-01'::DATE)
SELECT strftime('290000-01-01'::DATE, repeat('%A', 4000))
SELECT error('stop')
SELECT list_aggregate([1], 'no such')
SELECT list_aggregate(range(10), 'histogram', 1, 2, 3)
SELECT json_transform('[[[[]]]]', '"VARCHAR"')
SELECT json_structure(repeat('[', 1000000))
SELECT json_extract('{{}}', '$' || repeat('.a', 100000))
SELECT struct_extract({{'a': 1}}, 'b')
SELECT map([1, 1], [2, 3])
SELECT unnest(NULL), unnest([[NULL]])
SELECT editdist3('a', repeat('b', 100000))
"""


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


#: By what they are after.
HOSTILE: dict[str, list[str]] = {
    "files": _lines(FILES),
    "network": _lines(NETWORK),
    "settings": _lines(SETTINGS),
    "python": _lines(PYTHON),
    "memory": _lines(MEMORY),
    "time": _lines(TIME),
    "parser": list(PARSER),
    "crashes": _lines(CRASHES),
}


def filled(statement: str, **places: str) -> str:
    """Put real files and a real port into a statement; those made from parts have none."""
    return statement if statement in PARSER else statement.format(**places)
