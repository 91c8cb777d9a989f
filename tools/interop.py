#!/usr/bin/env python3
"""Polder's tables read by others: PyIceberg and DuckDB find the same rows and sums as `polder sql`.

Runs the example project over generated files in a temporary folder and compares every gold and silver table. Needs the
packages of tools/requirements.txt.
"""

import argparse
import decimal
import glob
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import duckdb
from pyiceberg.table import StaticTable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def polder_program():
    done = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"],
                          cwd=ROOT, check=True, capture_output=True, text=True)
    return os.path.join(json.loads(done.stdout)["target_directory"], "debug", "polder")


class Project:
    def __init__(self, polder, folder):
        self.polder, self.folder = polder, folder

    def run(self, *arguments):
        done = subprocess.run([self.polder, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"interop: polder {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, statement):
        return json.loads(self.run("sql", "--format", "json", statement))

    def make(self):
        subprocess.run([self.polder, "init", self.folder, "--example", "shop"], check=True, capture_output=True)
        self.run("generate", "shop", "--orders", "20000", "--out", "data")
        self.run("run")
        # A second day makes the incremental models rewrite files.
        self.run("generate", "shop", "--orders", "20000", "--out", "data", "--day", "2026-01-01")
        self.run("run")

    def tables(self):
        """(name, metadata file) of all Iceberg tables."""
        rows = self.ask("select namespace, name, metadata from system.tables where kind = 'table' order by 1, 2")
        warehouse = os.path.join(os.path.abspath(self.folder), ".polder", "warehouse")
        return [(f"{r['namespace']}.{r['name']}", os.path.join(warehouse, r["metadata"])) for r in rows]


def duckdb_connection():
    connection = duckdb.connect()
    for name in ("avro", "iceberg"):
        folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
        path = glob.glob(os.path.join(folder, "extensions", "*", f"{name}.duckdb_extension"))[0]
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def number(value):
    """Sums as exact numbers, whatever the reader's type for them."""
    return decimal.Decimal(str(value if value is not None else 0)).normalize()


def summed_columns(schema):
    """Names of the columns whose values can be added up."""
    return [f.name for f in schema.fields if str(f.field_type).startswith(("decimal", "long", "int"))]


def compare(project, connection, name, location):
    table = StaticTable.from_metadata(location)
    columns = summed_columns(table.schema())
    aggregates = ", ".join(["count(*) as n", *(f'sum("{c}") as "{c}"' for c in columns)])
    ours = project.ask(f"select {aggregates} from {name}")[0]
    arrow = table.scan().to_arrow()
    connection.register("rows", arrow)
    theirs = {
        "PyIceberg": connection.sql(f"select {aggregates} from rows").fetchone(),
        "DuckDB": connection.sql(f"select {aggregates} from iceberg_scan('{location}')").fetchone(),
    }
    wanted = [number(ours.get(c)) for c in ["n", *columns]]
    for reader, row in theirs.items():
        found = [number(v) for v in row]
        if found != wanted:
            sys.exit(f"interop: {name}: {reader} finds {found}, polder sql finds {wanted} ({['n', *columns]})")
    return int(wanted[0]), len(columns)


def handbook(project, connection):
    """Runs the Python of the handbook's page on storage, word for word but for the table's name."""
    with open(os.path.join(ROOT, "docs", "storage.md"), encoding="utf-8") as page:
        code = page.read().split("```python\n")[1].split("```")[0]
    # The extensions are those of the test's packages; DuckDB would fetch them from its own server.
    code = code.replace("INSTALL avro; LOAD avro; INSTALL iceberg; LOAD iceberg", "SELECT 1")
    code = code.replace("gold.daily", "gold.daily_revenue")
    here, path = os.getcwd(), os.environ["PATH"]
    found = {}
    connect, duckdb.connect = duckdb.connect, lambda: connection
    try:
        os.chdir(project.folder)
        os.environ["PATH"] = os.path.dirname(project.polder) + os.pathsep + path
        exec(code, found)  # pylint: disable=exec-used
    finally:
        os.chdir(here)
        os.environ["PATH"] = path
        duckdb.connect = connect
    wanted = project.ask("select count(*) as n from gold.daily_revenue")[0]["n"]
    rows = [found[name].num_rows for name in ("rows", "same")]
    if rows != [wanted, wanted]:
        sys.exit(f"interop: the handbook's code finds {rows[0]} and {rows[1]} rows of {wanted}")
    print(f"interop: the handbook's code finds the {wanted:,} rows of gold.daily_revenue")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--project", help="compare the tables of this project instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polder-interop-") as folder:
        project = Project(polder_program(), arguments.project or os.path.join(folder, "shop"))
        if not arguments.project:
            project.make()
        connection = duckdb_connection()
        tables = project.tables()
        if not tables:
            sys.exit("interop: the project has no tables")
        for name, location in tables:
            rows, columns = compare(project, connection, name, location)
            print(f"interop: {name}: {rows:,} rows, {columns} sums: the same in polder, PyIceberg and DuckDB")
        if any(name == "gold.daily_revenue" for name, _ in tables):
            handbook(project, connection)


if __name__ == "__main__":
    main()
