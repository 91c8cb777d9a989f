"""DuckDB: files → Parquet. Arguments: extension, pattern, the column that is summed."""

import json
import sys

import duckdb

extension, pattern, summed = sys.argv[1:]
reader = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}[extension]
connection = duckdb.connect()
connection.execute(f"COPY (SELECT * FROM {reader}('{pattern}')) TO 'out.parquet' (FORMAT parquet, COMPRESSION zstd)")
n, s = connection.execute(f"SELECT count(*), sum({summed})::varchar FROM 'out.parquet'").fetchone()
print(json.dumps({"n": n, "s": s}))
