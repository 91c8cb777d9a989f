"""dbt-core with dbt-duckdb: the example `shop` whole. Arguments: folder of the data, folder of the example, the select
lists of the digests by table as JSON.

DuckDB loads the files into its own tables; `dbt build` makes the models from them and runs the tests that stand for the
example's checks, on as many threads as there are cores. dbt runs in this process: its start is not on the clock.
"""

import json
import os
import shutil
import sys

import duckdb
from dbt.cli.main import dbtRunner

import work

data, example, digests = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
DATABASE = "out/shop.duckdb"
HERE = os.path.dirname(os.path.abspath(__file__))
MONEY = "'decimal(12,2)'"

# Types as the example's sources declare them.
LOADED = {
    "shop_customers": f"read_csv('{data}/customers/*.csv')",
    "shop_products": f"read_csv('{data}/products/*.csv', types={{'price': {MONEY}}})",
    "shop_orders": f"read_csv('{data}/orders/*.csv', types={{'amount': {MONEY}, 'shipping': {MONEY}, "
                   "'exchange_rate': 'decimal(10,4)'})",
    "shop_order_lines": f"read_csv('{data}/order_lines/*.csv', types={{'amount': {MONEY}, 'unit_price': {MONEY}}})",
    "payments": f"read_csv('{data}/payments/*.csv.gz', types={{'amount': {MONEY}}})",
    "events": f"read_json('{data}/events/*.jsonl')",
}


def make_project():
    shutil.copytree(os.path.join(HERE, "shop_dbt"), ".", dirs_exist_ok=True)
    for folder in ("models", "macros"):
        shutil.copytree(os.path.join(example, folder), folder, dirs_exist_ok=True)
    # What Polder reads beside a model; the tests stand in models/checks.yml.
    os.remove("models/gold/daily_revenue.yml")
    with open(os.path.join(example, "checks", "refunds.sql"), encoding="utf-8") as f:
        check = f.read()
    with open("tests/refunds.sql", "w", encoding="utf-8") as f:
        # dbt must know that the model comes first.
        f.write(check.replace("silver.payments", "{{ ref('payments') }}"))
    os.mkdir("out")
    os.environ["CORES"] = str(os.cpu_count() or 2)


def load_and_build():
    connection = duckdb.connect(DATABASE)
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("CREATE SCHEMA bronze")
    for table, reader in LOADED.items():
        connection.execute(f"CREATE TABLE bronze.{table} AS SELECT *, 1 AS _run, now() AS _loaded_at FROM {reader}")
    connection.close()
    done = dbtRunner().invoke(["build", "--quiet", "--profiles-dir", "."])
    if not done.success:
        sys.exit(f"dbt build failed: {done.exception or 'see above'}")


def check():
    connection = duckdb.connect(DATABASE)
    return {f"{table} {name}": value for table, statement in digests.items()
            for name, value in work.sums(connection, table, statement).items()}


make_project()
work.measure(load_and_build, "out", check)
