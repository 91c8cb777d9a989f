"""dbt-core with dbt-duckdb: the models of the example, as they are. Arguments: folder of the data, folder of the example.

The files are loaded into tables of DuckDB first; then `dbt build` makes the models and runs the tests that stand for the
example's checks.
"""

import json
import os
import shutil
import subprocess
import sys

import duckdb

data, example = sys.argv[1:]

LOADED = {
    "shop_customers": f"read_csv('{data}/customers/*.csv')",
    "shop_products": f"read_csv('{data}/products/*.csv', types={{'sku': 'varchar', 'price': 'decimal(12,2)'}})",
    "shop_orders": f"read_csv('{data}/orders/*.csv', types={{'amount': 'decimal(12,2)', 'shipping': 'decimal(12,2)', "
                   "'exchange_rate': 'decimal(10,4)'})",
    "shop_order_lines": f"read_csv('{data}/order_lines/*.csv', types={{'amount': 'decimal(12,2)', "
                        "'unit_price': 'decimal(12,2)'})",
    "payments": f"read_csv('{data}/payments/*.csv.gz', types={{'amount': 'decimal(12,2)'}})",
    "events": f"read_json('{data}/events/*.jsonl')",
}

TESTS = """
version: 2
sources:
  - name: bronze
    schema: bronze
    tables:
      - name: shop_orders
        columns:
          - {name: order_id, data_tests: [unique, not_null]}
          - {name: customer_id, data_tests: [not_null, {relationships: {to: "source('bronze', 'shop_customers')", field: customer_id}}]}
          - {name: amount, data_tests: [not_null]}
          - {name: status, data_tests: [{accepted_values: {values: [placed, paid, shipped, delivered, cancelled, refunded]}}]}
      - name: shop_order_lines
        columns:
          - {name: order_line_id, data_tests: [unique]}
          - {name: product_id, data_tests: [{relationships: {to: "source('bronze', 'shop_products')", field: product_id}}]}
      - name: shop_customers
        columns:
          - {name: customer_id, data_tests: [unique]}
      - name: shop_products
      - name: payments
        columns:
          - {name: payment_id, data_tests: [unique]}
      - name: events
  # The example calls them by the name of their source.
  - name: shop
    schema: bronze
    tables:
      - {name: order_lines, identifier: shop_order_lines}
      - {name: products, identifier: shop_products}
models:
  - name: funnel
    columns:
      - {name: day, data_tests: [unique]}
"""

PROJECT = """
name: shop
version: '1.0'
profile: bench
model-paths: [models]
macro-paths: [macros]
test-paths: [tests]
flags: {send_anonymous_usage_stats: false}
vars: {revenue_statuses: [paid, shipped, delivered]}
models:
  shop:
    +materialized: table
    silver: {+schema: silver}
    gold: {+schema: gold}
"""

# dbt puts the target's schema before the name unless told otherwise.
SCHEMA_MACRO = """
{% macro generate_schema_name(custom_schema_name, node) -%}
{{ custom_schema_name or target.schema }}
{%- endmacro %}
"""

PROFILES = "bench: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb, threads: %d}}}\n"


def write(name, text):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    with open(name, "w", encoding="utf-8") as f:
        f.write(text)


connection = duckdb.connect("shop.duckdb")
connection.execute("CREATE SCHEMA bronze")
for table, reader in LOADED.items():
    connection.execute(f"CREATE TABLE bronze.{table} AS SELECT *, 1 AS _run, now() AS _loaded_at FROM {reader}")
connection.close()

for folder in ("models", "macros"):
    shutil.copytree(os.path.join(example, folder), folder)
write("models/sources.yml", TESTS)
write("macros/schema.sql", SCHEMA_MACRO)
write("tests/refunds.sql", open(os.path.join(example, "checks", "refunds.sql"), encoding="utf-8").read())
write("dbt_project.yml", PROJECT)
write("profiles.yml", PROFILES % (os.cpu_count() or 2))
# Polder's own checks beside a model are no dbt tests.
os.remove("models/gold/daily_revenue.yml")
dbt = os.path.join(os.path.dirname(sys.executable), "dbt")
done = subprocess.run([dbt, "--quiet", "build", "--profiles-dir", "."], capture_output=True, text=True, check=False)
if done.returncode != 0:
    sys.exit(done.stdout + done.stderr)

connection = duckdb.connect("shop.duckdb", read_only=True)
n, s = connection.execute("SELECT count(*), sum(revenue_eur)::varchar FROM gold.daily_revenue").fetchone()
print(json.dumps({"n": n, "s": s}))
