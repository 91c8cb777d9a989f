#!/usr/bin/env python3
"""Polder beside its peers, on the same files, in one run.

Each case runs Polder and its peer in turn, several times, and gives the median of each and the median of the ratios of
the pairs: the machine is noisy, and what disturbs one half of a pair mostly disturbs the other. Row counts and sums of
both sides are compared; a case whose results differ fails the benchmark. Polder's times are those of the whole command
(`polder run`, with planning, commit and publish); DuckDB's and dlt's are those of the statement or pipeline alone, in a
process that is running already, so the comparison leans towards the peers.

    make bench [ARGS="--orders 1000000 --rounds 5 --only csv,pipeline"]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tools"))


@dataclass
class Case:
    """One row of the table."""

    name: str
    peer: str
    ours: list = field(default_factory=list)
    theirs: list = field(default_factory=list)
    note: str = ""

    def row(self):
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        ratio = statistics.median(a / b for a, b in zip(self.ours, self.theirs))
        return [self.name, f"{ours:.2f}", f"{self.peer} {theirs:.2f}", f"{ratio:.2f}", self.note]


class Bench:
    def __init__(self, args):
        self.args = args
        self.polder = args.polder
        self.work = Path(tempfile.mkdtemp(prefix="polder-bench-", dir=args.work))
        self.data = self.work / "data"
        self.cases = []
        self.facts = []

    # ---- helpers ----

    def run_polder(self, project, *words, check=True):
        command = [self.polder, "--project", str(project), *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
        if check and done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, project, sql):
        """The one row of a query, as numbers."""
        out = self.run_polder(project, "sql", "--format", "json", sql)
        return list(json.loads(out.strip().splitlines()[0]).values())

    def project(self, name, files):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in {"polder.yaml": f"name: {name}\n", **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    def pairs(self, case, ours, theirs):
        """Times both in turn. Each returns (count, sum), which must agree."""
        for _ in range(self.args.rounds):
            a_seconds, a = self.time(ours)
            b_seconds, b = self.time(theirs)
            if not same(a, b):
                sys.exit(f"{case.name}: polder found {a}, {case.peer} found {b}")
            case.ours.append(a_seconds)
            case.theirs.append(b_seconds)
        self.cases.append(case)
        print("  " + " | ".join(case.row()), flush=True)

    @staticmethod
    def time(work):
        """`work` prepares, then returns (timed part, facts to compare afterwards)."""
        timed, facts = work()
        started = time.perf_counter()
        timed()
        seconds = time.perf_counter() - started
        return seconds, facts()

    def wanted(self, name):
        return not self.args.only or name in self.args.only.split(",")

    # ---- cases ----

    def generate(self, kind):
        folder = self.data / kind
        if not folder.exists():
            subprocess.run(
                [self.polder, "generate", "shop", "--orders", str(self.args.orders), "--seed", "7", "--format", kind, "--out", str(folder)],
                check=True, capture_output=True,
            )
        return folder

    def files_case(self, kind, reader):
        import duckdb

        folder = self.generate(kind)
        pattern = str(next((folder / "order_lines").iterdir()))
        size = sum(f.stat().st_size for f in (folder / "order_lines").iterdir())
        query = "select count(*) as n, sum(quantity) as s from"

        def ours():
            project = self.project(f"ingest_{kind}", {"sources/lines.yaml": f"files: {pattern}\n"})
            return (lambda: self.run_polder(project, "run")), (lambda: self.ask(project, f"{query} bronze.lines"))

        def theirs():
            out = self.work / f"duckdb_{kind}.parquet"
            out.unlink(missing_ok=True)
            con = duckdb.connect()
            statement = f"copy (select * from {reader}('{pattern}')) to '{out}' (format parquet)"
            return (lambda: con.execute(statement)), (lambda: con.execute(f"{query} '{out}'").fetchone())

        rows = None
        case = Case(f"{kind} → table", "DuckDB", note=f"{size / 1e6:.0f} MB")
        self.pairs(case, ours, theirs)
        return rows

    def postgres_cases(self):
        import duckdb
        from private_postgres import PrivatePostgres

        with PrivatePostgres() as server:
            url = server.url
            subprocess.run(
                [self.polder, "generate", "shop", "--orders", str(self.args.orders), "--seed", "7", "--out", url],
                check=True, capture_output=True,
            )
            query = "select count(*) as n, sum(quantity) as s from"

            def ours():
                project = self.project("ingest_pg", {"sources/shop.yaml": f"postgres: {url}\ntables:\n  order_lines: full\n"})
                return (lambda: self.run_polder(project, "run")), (lambda: self.ask(project, f"{query} bronze.shop_order_lines"))

            def scanner():
                out = self.work / "duckdb_pg.parquet"
                out.unlink(missing_ok=True)
                con = duckdb.connect()
                load_extension(con, "postgres_scanner")
                con.execute(f"attach '{url}' as pg (type postgres, read_only)")
                statement = f"copy (select * from pg.public.order_lines) to '{out}' (format parquet)"
                return (lambda: con.execute(statement)), (lambda: con.execute(f"{query} '{out}'").fetchone())

            def dlt_pipeline():
                out = self.work / "dlt"
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                load = prepare_dlt(url, out)
                glob = f"{out}/lake/shop/order_lines/*.parquet"
                return load, (lambda: duckdb.connect().execute(f"{query} '{glob}'").fetchone())

            self.pairs(Case("PostgreSQL → table", "DuckDB"), ours, scanner)
            self.pairs(Case("PostgreSQL → table", "dlt", note="pyarrow backend, Parquet files"), ours, dlt_pipeline)

    def pipeline_case(self):
        import duckdb

        folder = self.generate("csv")
        models = {p.stem: p.read_text() for p in sorted((HERE / "pipeline").glob("*.sql"))}
        tables = ["customers", "orders", "order_lines", "payments"]
        query = "select count(*) as n, sum(revenue) as s from"

        def ours():
            files = {f"models/gold/{n}.sql": t for n, t in models.items()}
            files["sources/shop.yaml"] = "files:\n" + "".join(f"  {t}: {next((folder / t).iterdir())}\n" for t in tables)
            files["checks/daily.yaml"] = "table: gold.daily\nchecks:\n  - unique: day\n  - not_null: [day, revenue]\n"
            project = self.project("pipeline", files)
            return (lambda: self.run_polder(project, "run")), (lambda: self.ask(project, f"{query} gold.daily"))

        def theirs():
            project = self.work / "dbt"
            shutil.rmtree(project, ignore_errors=True)
            write_dbt_project(project, folder, tables, models)
            command = [str(Path(sys.executable).parent / "dbt"), "build", "--quiet", "--project-dir", str(project), "--profiles-dir", str(project)]
            env = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
            return (
                lambda: subprocess.run(command, check=True, cwd=project, env=env, stdout=subprocess.DEVNULL),
                lambda: duckdb.connect(str(project / "shop.duckdb"), read_only=True).execute(f"{query} daily").fetchone(),
            )

        self.pairs(Case("whole pipeline", "dbt-duckdb", note=f"{len(tables)} sources, {len(models)} models, 2 checks; both as whole commands"), ours, theirs)

    def commits_case(self):
        out = subprocess.run(
            ["cargo", "bench", "-q", "-p", "polder-catalog", "--bench", "commits", "--", "10000", "400"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for line in out.splitlines():
            fact = json.loads(line)
            if "commits_per_second" in fact:
                self.facts.append([
                    f"commits: {fact['case']}, catalog of {fact['tables']:,} tables",
                    f"{fact['commits_per_second']:.0f} a second, {fact['bytes_per_commit'] / 1000:.1f} kB each",
                ])

    def memory_case(self):
        lines = 5_000_000
        folder = self.work / "data" / "five_million"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "rows.csv"
        with path.open("w") as out:
            out.write("id,name,amount,at\n")
            out.writelines(f"{i},customer number {i % 977},{i % 10_000}.{i % 100:02d},2026-01-{i % 28 + 1:02d} 10:00:00\n" for i in range(lines))
        project = self.project("memory", {"sources/rows.yaml": f"files: {path}\n"})
        started = time.perf_counter()
        peak = peak_memory([self.polder, "--project", str(project), "run"])
        seconds = time.perf_counter() - started
        (count,) = self.ask(project, "select count(*) as n from bronze.rows")
        assert int(count) == lines, count
        self.facts.append([f"ingest of {lines:,} CSV rows ({path.stat().st_size / 1e6:.0f} MB)", f"{seconds:.1f} s, {peak / 1e6:.0f} MB at the peak"])

    def start_case(self):
        times = []
        for _ in range(20):
            started = time.perf_counter()
            subprocess.run([self.polder, "--version"], check=True, capture_output=True)
            times.append((time.perf_counter() - started) * 1000)
        self.facts.append(["polder --version", f"{statistics.median(times):.1f} ms"])

    def all(self):
        for name, work in [
            ("csv", lambda: self.files_case("csv", "read_csv")),
            ("jsonl", lambda: self.files_case("jsonl", "read_json")),
            ("parquet", lambda: self.files_case("parquet", "read_parquet")),
            ("postgres", self.postgres_cases),
            ("pipeline", self.pipeline_case),
            ("commits", self.commits_case),
            ("memory", self.memory_case),
            ("start", self.start_case),
        ]:
            if self.wanted(name):
                print(f"{name} …", flush=True)
                work()
        self.print()

    def print(self):
        print()
        if self.cases:
            print_table(["case", "Polder, s", "peer, s", "Polder / peer", ""], [c.row() for c in self.cases])
        if self.facts:
            print()
            print_table(["measure", "value"], self.facts)


def same(ours, theirs):
    return all(abs(float(a) - float(b)) <= 1e-6 * max(1.0, abs(float(b))) for a, b in zip(ours, theirs))


def load_extension(con, name):
    """DuckDB's extensions come from PyPI, as files in a Python package."""
    import importlib.util

    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    paths = [p for root in package.submodule_search_locations for p in Path(root).rglob("*.duckdb_extension*")]
    path = paths[0]
    if path.suffix == ".gz":
        import gzip

        plain = Path(tempfile.gettempdir()) / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path = plain
    con.execute(f"load '{path}'")


def prepare_dlt(url, out):
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt
    from dlt.sources.sql_database import sql_database

    pipeline = dlt.pipeline(
        pipeline_name="shop", pipelines_dir=str(out / "state"), dataset_name="shop",
        destination=dlt.destinations.filesystem(bucket_url=f"file://{out}/lake"),
    )
    source = sql_database(url.replace("postgres://", "postgresql+psycopg2://"), table_names=["order_lines"], backend="pyarrow", chunk_size=100_000)
    return lambda: pipeline.run(source, loader_file_format="parquet", write_disposition="replace")


def write_dbt_project(project, folder, tables, models):
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "name: shop\nversion: '1'\nprofile: shop\nmodel-paths: [models]\nmodels:\n  shop:\n    +materialized: table\n"
    )
    (project / "profiles.yml").write_text("shop:\n  target: dev\n  outputs:\n    dev:\n      type: duckdb\n      path: shop.duckdb\n      threads: 2\n")
    for table in tables:
        path = next((folder / table).iterdir())
        (project / "models" / f"shop_{table}.sql").write_text(f"select * from read_csv('{path}')\n")
    for name, text in models.items():
        text = text.replace("bronze.shop_", "§").replace("gold.", "§§")
        for table in tables:
            text = text.replace(f"§{table}", "{{ ref('shop_%s') }}" % table)
        for other in models:
            text = text.replace(f"§§{other}", "{{ ref('%s') }}" % other)
        (project / "models" / f"{name}.sql").write_text(text)
    (project / "models" / "schema.yml").write_text(
        "models:\n  - name: daily\n    columns:\n      - name: day\n        data_tests: [unique, not_null]\n      - name: revenue\n        data_tests: [not_null]\n"
    )


def peak_memory(command):
    """Peak resident bytes of a command."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return usage.ru_maxrss * 1024


def print_table(head, rows):
    rows = [[str(c) for c in r] for r in rows]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for r in [head, ["-" * w for w in widths], *rows]:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--polder", default=str(ROOT / "target" / "release" / "polder"))
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="csv, jsonl, parquet, postgres, pipeline, commits, memory, start")
    parser.add_argument("--work", default=None, help="folder for the data")
    bench = Bench(parser.parse_args())
    try:
        bench.all()
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)


if __name__ == "__main__":
    main()
