"""DuckDB: a PostgreSQL table → Parquet. Arguments: URL, table, the column that is summed."""

import glob
import importlib.util
import json
import os
import sys

import duckdb

url, table, summed = sys.argv[1:]
connection = duckdb.connect()
folder = importlib.util.find_spec("duckdb_extension_postgres_scanner").submodule_search_locations[0]
connection.execute(f"LOAD '{glob.glob(os.path.join(folder, 'extensions', '*', '*.duckdb_extension'))[0]}'")
connection.execute(f"ATTACH '{url}' AS pg (TYPE postgres, READ_ONLY)")
connection.execute(f"COPY (SELECT * FROM pg.public.{table}) TO 'out.parquet' (FORMAT parquet, COMPRESSION zstd)")
n, s = connection.execute(f"SELECT count(*), sum({summed})::varchar FROM 'out.parquet'").fetchone()
print(json.dumps({"n": n, "s": s}))
