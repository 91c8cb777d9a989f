"""DuckDB: a PostgreSQL table → Parquet. Arguments: URL, table, the select list of the digest.

The extension is the one that PyPI has, so that nothing is asked of DuckDB's own server. It reads with binary COPY over
as many connections as there are threads, which is its default.
"""

import glob
import importlib.util
import os
import sys

import duckdb

import work

url, table, digest = sys.argv[1:]
folder = importlib.util.find_spec("duckdb_extension_postgres_scanner").submodule_search_locations[0]
extension = glob.glob(os.path.join(folder, "extensions", "*", "*.duckdb_extension"))[0]

connection = duckdb.connect()
# As an import is not on the clock.
connection.execute(f"LOAD '{extension}'")


def copy():
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"ATTACH '{url}' AS pg (TYPE postgres, READ_ONLY)")
    connection.execute(f"COPY (SELECT * FROM pg.public.{table}) TO 'out' "
                       "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PER_THREAD_OUTPUT)")


work.measure(copy, "out", lambda: work.sums(connection, "'out/*.parquet'", digest))
