"""What is measured. Each case makes its data, has the job done in pairs, and gives comparisons or single figures."""

import itertools
import json
import os
import shutil
import statistics
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

import pg
from measure import Failed, Sample, compare, folder_bytes, run

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

MEMORY_AIM_BYTES = 1_000_000_000
VERSION_AIM_S = 0.020
# Order lines come to 2.47 for each order: five million of them.
MEMORY_ORDERS = 2.04
# Lines that come again in another file, where keys are to be found equal.
REPEATED_LINES = 100_000

# Digests: SQL that Polder and DuckDB understand alike, over columns of each type. Points in time count in whole seconds.
ORDER_LINES = (
    "count(*) as n, sum(order_line_id) as order_line_id, sum(product_id) as product_id, sum(quantity) as quantity, "
    "sum(cast(amount as decimal(18, 2))) as amount, "
    "sum(cast(floor(extract(epoch from created_at)) as bigint)) as created_at"
)
EVENTS = (
    "count(*) as n, sum(product_id) as product_id, count(distinct session_id) as session_id, "
    "sum(length(page)) as page, sum(length(event_id)) as event_id, "
    "sum(cast(floor(extract(epoch from occurred_at)) as bigint)) as occurred_at"
)
SHOP = {
    "silver.customers": "count(*) as n, sum(customer_id) as customer_id, sum(length(email)) as email",
    "silver.orders": "count(*) as n, sum(amount_eur) as amount_eur, sum(shipping_eur) as shipping_eur",
    "silver.order_lines": "count(*) as n, sum(quantity) as quantity, sum(amount_eur) as amount_eur",
    "silver.payments": "count(*) as n, sum(amount) as amount",
    "gold.daily_revenue": "count(*) as n, sum(orders) as orders, sum(customers) as customers, "
                          "sum(revenue_eur) as revenue_eur",
    "gold.customer_value": "count(*) as n, sum(orders) as orders, sum(revenue_eur) as revenue_eur",
    "gold.customers_by_country": "count(*) as n, sum(customers) as customers, sum(revenue_eur) as revenue_eur",
    "gold.top_products": "count(*) as n, sum(pieces) as pieces, sum(revenue_eur) as revenue_eur",
    "gold.funnel": "count(*) as n, sum(sessions) as sessions, sum(viewed) as viewed, sum(bought) as bought",
}


@dataclass
class Figure:
    """Something that has no peer."""

    what: str
    value: str
    note: str = ""
    # What was wanted, and whether it was reached.
    aim: str = ""
    reached: bool | None = None
    numbers: dict = field(default_factory=dict)


def exact(values):
    """Values of a digest as numbers: 12.50 equals 12.5."""
    def number(value):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            return str(value)

    return {name: number(value) for name, value in values.items()}


class Bench:
    """Polder, the peers, a folder to work in, and the sizes."""

    def __init__(self, polder, peers, folder, options):
        self.polder = polder
        self.peers = peers
        self.folder = folder
        self.options = options
        self.left_out = []

    # ---- Polder ----

    def generate(self, *arguments, orders=None):
        orders = str(orders or self.options.orders)
        run([self.polder, "generate", "shop", "--orders", orders, *arguments], self.folder)

    def data(self, name, *arguments, orders=None):
        """A folder of generated files."""
        folder = os.path.join(self.folder, name)
        self.generate("--out", folder, *arguments, orders=orders)
        return folder

    def project(self, source):
        """A fresh project of one source."""
        folder = self.fresh("project")
        for name, text in {"polder.yaml": "name: bench\n", "sources/bench.yaml": source}.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return folder

    def polder_run(self, project, digest):
        """`polder run` of a fresh project; `digest`: select lists by table."""
        process = run([self.polder, "run", "--format", "json"], project)
        found = {}
        for table, statement in digest.items():
            answer = run([self.polder, "sql", "--format", "json", f"SELECT {statement} FROM {table}"], project).out
            row = json.loads(answer, parse_float=Decimal)[0]
            found |= {f"{table} {name}" if len(digest) > 1 else name: value for name, value in row.items()}
        written = folder_bytes(os.path.join(project, ".polder"))
        return Sample(process.seconds, process.peak_bytes, written, exact(found)), process

    def ingest(self, source, table, digest):
        """One source into one table, from nothing."""
        return self.polder_run(self.project(source), {table: digest})[0]

    # ---- peers ----

    def peer(self, script, *arguments):
        """A script of bench/peers, which prints what it found as its last line."""
        command = [self.peers.python, os.path.join(HERE, "peers", script), *arguments]
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}
        found = json.loads(run(command, self.fresh("peer"), quiet).out.strip().rsplit("\n", 1)[-1])
        return Sample(found["seconds"], found["peak_bytes"], found["written_bytes"], exact(found["digest"]))

    def compare(self, what, peer, ours, theirs):
        lacks = self.peers.lacks(peer)
        if lacks:
            self.left_out.append(f"{what}, against {peer}: not installed: {', '.join(lacks)}")
            return []
        done = compare(what, peer, self.options.pairs, ours, theirs)
        done.rows = int(done.ours[0].digest.get("n", 0))
        return [done]

    def fresh(self, name):
        folder = os.path.join(self.folder, name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        return folder

    # ---- cases ----

    def files(self, what, table, extension, digest, selected="*"):
        """Files of one format into a table, beside DuckDB, which makes Parquet of them."""
        folder = self.data(extension, "--tables", table, "--format", extension)
        pattern = f"{folder}/{table}/*.{extension}"
        return self.compare(what, "DuckDB", lambda: self.ingest(f"files: {pattern}\n", "bronze.bench", digest),
                            lambda: self.peer("duckdb_files.py", extension, pattern, selected, digest))

    def csv(self):
        return self.files("CSV → table", "order_lines", "csv", ORDER_LINES)

    def jsonl(self):
        # With and without milliseconds, DuckDB leaves them text; the tables are to be the same.
        typed = "* REPLACE (cast(occurred_at AS timestamptz) AS occurred_at)"
        return self.files("JSON lines → table", "events", "jsonl", EVENTS, typed)

    def parquet(self):
        return self.files("Parquet → table", "order_lines", "parquet", ORDER_LINES)

    def postgres(self):
        """A table of a PostgreSQL on this machine into a table."""
        with pg.private_server() as server:
            url = server.url()
            self.generate("--out", url, "--tables", "order_lines", "--replace")

            def ours():
                source = f"postgres: {url}\ntables: {{ order_lines: full }}\n"
                return self.ingest(source, "bronze.bench_order_lines", ORDER_LINES)

            def with_duckdb():
                return self.peer("duckdb_postgres.py", url, "order_lines", ORDER_LINES)

            def with_dlt():
                return self.peer("dlt_postgres.py", url, "order_lines", "order_line_id", ORDER_LINES)

            what = "PostgreSQL → table"
            return (self.compare(what, "DuckDB's PostgreSQL reader", ours, with_duckdb)
                    + self.compare(what, "dlt", ours, with_dlt))

    def pipeline(self):
        """The example `shop` whole: files in, models, checks."""
        data = self.data("shop-data")
        rows = []

        def ours():
            project = self.fresh("shop")
            run([self.polder, "init", project, "--example", "shop"], self.folder)
            os.symlink(data, os.path.join(project, "data"))
            sample, process = self.polder_run(project, SHOP)
            rows[:] = [rows_read(process.out)]
            return sample

        def theirs():
            return self.peer("shop_dbt.py", data, os.path.join(ROOT, "examples", "shop"), json.dumps(SHOP))

        done = self.compare("ingest + models + checks", "dbt with DuckDB", ours, theirs)
        for comparison in done:
            comparison.rows = rows[0]
        return done

    def memory(self):
        """The greatest resident set of a large ingest: as it comes, with a key, and with keys that come twice."""
        data = self.data("memory", "--tables", "order_lines", orders=int(self.options.orders * MEMORY_ORDERS))
        pattern = f"{data}/order_lines/*.csv"
        keyed = f"files: {pattern}\nkey: order_line_id\n"
        figures = [self.peak("", f"files: {pattern}\n"), self.peak(" with a key", keyed)]
        self.repeat_lines(f"{data}/order_lines")
        repeated = self.peak(f" with a key, {REPEATED_LINES:,} lines twice", keyed)
        if repeated.numbers["rows"] != figures[1].numbers["rows"]:
            raise Failed("lines that came twice are in the table twice")
        shutil.rmtree(data)
        return [*figures, repeated]

    def peak(self, how, source):
        sample = self.ingest(source, "bronze.bench", ORDER_LINES)
        rows, peak = int(sample.digest["n"]), sample.peak_bytes
        return Figure(
            f"peak memory of a CSV ingest{how}", f"{peak / 1e6:,.0f} MB", f"{rows:,} rows in {sample.seconds:.1f} s",
            f"below {MEMORY_AIM_BYTES / 1e6:,.0f} MB", peak < MEMORY_AIM_BYTES,
            {"peak_bytes": peak, "rows": rows, "seconds": sample.seconds})

    @staticmethod
    def repeat_lines(folder):
        """Another file with the first lines of the first one."""
        first = os.path.join(folder, min(os.listdir(folder)))
        with open(first, encoding="utf-8") as lines, open(os.path.join(folder, "again.csv"), "w", encoding="utf-8") as out:
            out.writelines(itertools.islice(lines, REPEATED_LINES + 1))

    def commits(self):
        """Commits to a catalog of many tables: the program in crates/catalog/benches."""
        program = self.options.commits_program
        # Together with `polder`, so that dependencies have the features that they were built with for it.
        cargo = ["cargo", "bench", "--locked", "-p", "polder", "-p", "polder-catalog", "--bench", "commits", "--"]
        sizes = [str(self.options.tables), str(self.options.commits)]
        out = run([*([program] if program else cargo), *sizes], ROOT).out
        figures = []
        for line in out.splitlines():
            if not line.startswith("{"):
                continue
            found = json.loads(line)
            written, kept = found["bytes_written_per_commit"], found["bytes_kept_per_commit"]
            note = f"{kept / 1e3:,.1f} kB kept of each; {found['commits']:,} commits, {found['tables']:,} tables"
            if written is not None:
                note = f"{written / 1e3:,.1f} kB written for each, {note}"
            figures.append(Figure(f"commits: {found['case']}", f"{found['commits_per_second']:,.1f} /s", note,
                                  numbers=found))
        if not figures:
            raise Failed(f"the program gave no figures:\n{out}")
        return figures

    def version(self):
        """How long a person waits for the smallest command."""
        times = [run([self.polder, "--version"], self.folder).seconds for _ in range(21)]
        middle = statistics.median(times)
        note = f"median of {len(times)}; {min(times) * 1e3:.1f} to {max(times) * 1e3:.1f} ms"
        return [Figure("polder --version", f"{middle * 1e3:.1f} ms", note, f"below {VERSION_AIM_S * 1e3:.0f} ms",
                       middle < VERSION_AIM_S, {"seconds": times})]


# In the order in which they are measured.
NAMES = ["version", "csv", "jsonl", "parquet", "postgres", "pipeline", "memory", "commits"]


def rows_read(events):
    """Rows that all ingest steps of a run took in."""
    finished = (json.loads(line) for line in events.splitlines() if '"step_finished"' in line)
    return sum(event["report"]["rows"] or 0 for event in finished if event["step"]["kind"] == "ingest")
