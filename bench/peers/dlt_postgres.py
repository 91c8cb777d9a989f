"""dlt: a PostgreSQL table → Parquet files, with its fastest backend. Arguments: URL, table, the column that is summed."""

import json
import os
import sys

import dlt
import duckdb
from dlt.sources.sql_database import sql_database

url, table, summed = sys.argv[1:]
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = os.path.abspath("out")
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
source = sql_database(url.replace("postgres://", "postgresql+psycopg2://", 1), table_names=[table], backend="pyarrow", chunk_size=100_000)
pipeline = dlt.pipeline("bench", destination="filesystem", dataset_name="bench", pipelines_dir=os.path.abspath("state"))
pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
found = duckdb.execute(f"SELECT count(*), sum({summed})::varchar FROM 'out/bench/{table}/*.parquet'").fetchone()
print(json.dumps({"n": found[0], "s": found[1]}))
