"""dlt: a PostgreSQL table → Parquet. Arguments: URL, table, a column to divide it by, the select list of the digest.

dlt's handbook calls ConnectorX the fastest of its backends, and its normalising step is left out for Arrow data. Read as
a stream in as many parts as there are cores: the fastest of the variants that were tried.
"""

import os
import sys

import dlt
from dlt.sources.sql_database import sql_table

# Not on the clock: the backend imports it when it is first used.
import connectorx  # noqa: F401

import work

url, table, divided_by, digest = sys.argv[1:]
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = os.path.abspath("out")
address = url.split("://", 1)[1]
reading = {
    "conn": f"postgresql://{address}",
    "return_type": "arrow_stream",
    "partition_on": divided_by,
    "partition_num": os.cpu_count() or 2,
}


def load():
    source = sql_table(f"postgresql+psycopg2://{address}", table, backend="connectorx", backend_kwargs=reading,
                       chunk_size=100_000)
    pipeline = dlt.pipeline("bench", destination="filesystem", dataset_name="bench", pipelines_dir=os.path.abspath("state"))
    pipeline.run(source, loader_file_format="parquet", write_disposition="replace")


def check():
    import duckdb

    return work.sums(duckdb.connect(), f"'out/bench/{table}/*.parquet'", digest)


work.measure(load, os.path.join("out", "bench", table), check)
