"""DuckDB: files → Parquet. Arguments: extension, pattern, what to select, the select list of the digest.

As DuckDB's guide advises where neither the order of rows nor the number of files matters: a file a thread. Compression is
that of Polder's files.
"""

import sys

import duckdb

import work

extension, pattern, selected, digest = sys.argv[1:]
reader = {"csv": "read_csv", "jsonl": "read_json", "parquet": "read_parquet"}[extension]
connection = duckdb.connect()


def copy():
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"COPY (SELECT {selected} FROM {reader}('{pattern}')) TO 'out' "
                       "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PER_THREAD_OUTPUT)")


work.measure(copy, "out", lambda: work.sums(connection, "'out/*.parquet'", digest))
