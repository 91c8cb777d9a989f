#!/usr/bin/env python3
"""How a served project answers, beside PostgreSQL and DuckDB on the same rows.

    bench/serving.py [--rows N] [--seconds N] [--polder PROGRAM] [--tables N...]

Statements go through `pgbench` (PostgreSQL's own) with 1 and 32 clients, prepared, each client asking as fast as it is
answered. DuckDB has no server: its threads ask in one process. Then: how long `polder up` takes to be ready, and what
memory it has, with few and many tables. The answers are compared before anything is measured.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.dont_write_bytecode = True

import environment  # noqa: E402
import pg  # noqa: E402

CLIENTS = [1, 32]
STATEMENTS = {
    "by key": "select customer, amount from bronze.orders where id = {key}",
    "aggregate": "select customer, count(*), sum(amount) from bronze.orders where id between {key} and {key} + 2999 "
                 "group by customer",
}
CUSTOMERS = 100
DAYS = 365


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


class Served:
    """`polder up` on a project. `seconds`: from its start until `/healthz` has answered."""

    def __init__(self, polder, project):
        since = time.monotonic()
        self.process = subprocess.Popen([polder, "up"], cwd=project, stdout=subprocess.PIPE, text=True)
        self.port, address = None, None
        for line in self.process.stdout:
            found = re.search(r"psql .*-p (\d+)", line)
            self.port = int(found.group(1)) if found else self.port
            found = re.search(r"http://[\d.]+:\d+", line)
            address = found.group() if found else address
            if line.startswith("ready in"):
                break
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:
            answer.read()
        self.seconds = time.monotonic() - since

    def memory_mb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1000

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def project(polder, folder, rows):
    """A project whose bronze.orders has `rows` rows, sorted by id, and the same rows as Parquet."""
    import duckdb
    os.makedirs(os.path.join(folder, "data"))
    os.makedirs(os.path.join(folder, "sources"))
    parquet = os.path.join(folder, "data", "orders.parquet")
    duckdb.execute(
        f"copy (select i::bigint as id, 'c' || (i * 7919 % {CUSTOMERS}) as customer, (i % 9973 / 100)::decimal(12,2) as amount, "
        f"(date '2026-01-01' + (i * {DAYS} // {rows})::integer) as day from range({rows}) t(i)) to '{parquet}' (format parquet)")
    with open(os.path.join(folder, "polder.yaml"), "w", encoding="ascii") as f:
        f.write("name: bench\n")
    with open(os.path.join(folder, "sources", "orders.yaml"), "w", encoding="ascii") as f:
        f.write("files: data/orders.parquet\n")
    subprocess.run([polder, "run"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return parquet


def into_postgres(server, parquet):
    import duckdb
    import psycopg
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create schema bronze")
        connection.execute("create table bronze.orders (id bigint primary key, customer text, amount numeric(12,2), day date)")
        with connection.cursor().copy("copy bronze.orders from stdin") as copy:
            for row in duckdb.execute(f"select * from '{parquet}'").fetchall():
                copy.write_row(row)
        connection.execute("vacuum analyze bronze.orders")


def pgbench(address, statement, clients, seconds, rows, folder):
    """Statements a second, and the latencies in milliseconds."""
    script = os.path.join(folder, "script.sql")
    with open(script, "w", encoding="ascii") as f:
        f.write(f"\\set key random(0, {rows - 1})\n{statement.format(key=':key')};\n")
    log = os.path.join(folder, "latency")
    for old in os.listdir(folder):
        if old.startswith("latency"):
            os.remove(os.path.join(folder, old))
    program = os.path.join(pg.find(), "pgbench")
    host, port, user, database, password = address
    done = subprocess.run(
        [program, "-n", "-M", "prepared", "-f", script, "-c", str(clients), "-j", "1", "-T", str(seconds), "-l",
         "--log-prefix", log, "-h", host, "-p", str(port), "-U", user, database],
        capture_output=True, text=True, check=False, env={**os.environ, "PGPASSWORD": password})
    if done.returncode != 0 or "failed" in done.stderr:
        sys.exit(f"pgbench: {done.stderr[-500:]}")
    rate = float(re.search(r"tps = ([\d.]+) \(without", done.stdout).group(1))
    latencies = []
    for name in os.listdir(folder):
        if name.startswith("latency"):
            with open(os.path.join(folder, name), encoding="ascii") as f:
                latencies += [int(line.split()[2]) / 1000 for line in f]
    return rate, latencies


def duckdb_asks(parquet, statement, clients, seconds, rows):
    import random

    import duckdb
    database = duckdb.connect()
    database.execute("create schema bronze")
    database.execute(f"create table bronze.orders as select * from '{parquet}'")
    database.execute("create index by_id on bronze.orders (id)")
    latencies, end = [], time.monotonic() + seconds

    def ask():
        cursor = database.cursor()
        while time.monotonic() < end:
            text = statement.format(key=random.randrange(rows))
            since = time.monotonic()
            cursor.execute(text).fetchall()
            latencies.append((time.monotonic() - since) * 1000)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / seconds, latencies


def same_answers(served, server, parquet):
    import duckdb
    import psycopg
    sums = "select count(*), sum(amount), count(distinct customer), min(day), max(day) from {}"
    told = []
    for address in (f"host=127.0.0.1 port={served.port} dbname=main user=bench", server.url()):
        with psycopg.connect(address) as connection:
            told.append(connection.execute(sums.format("bronze.orders")).fetchone())
    told.append(duckdb.execute(sums.format(f"'{parquet}'")).fetchone())
    if len(set(told)) != 1:
        sys.exit(f"the answers differ: {told}")
    return told[0][0]


def serving(polder, folder, rows, seconds):
    parquet = project(polder, folder, rows)
    # Not in the project: what changes there is read again, and all that was planned is planned anew.
    notes = tempfile.mkdtemp(prefix="notes-", dir=os.path.dirname(folder))
    server = pg.Server(os.path.join(folder, "pg"))
    server.start()
    served = Served(polder, folder)
    try:
        into_postgres(server, parquet)
        print(f"{same_answers(served, server, parquet):,} rows, the same in all three\n")
        url = re.match(r"postgres://(\w+):(\w+)@([\d.]+):(\d+)/(\w+)", server.url())
        postgres = (url.group(3), url.group(4), url.group(1), url.group(5), url.group(2))
        ours = ("127.0.0.1", served.port, "bench", "main", "")
        print("| statement | clients | | per second | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
        for name, statement in STATEMENTS.items():
            for clients in CLIENTS:
                found = {
                    "Polder": pgbench(ours, statement, clients, seconds, rows, notes),
                    "PostgreSQL": pgbench(postgres, statement, clients, seconds, rows, notes),
                    "DuckDB, no server": duckdb_asks(parquet, statement, clients, seconds, rows),
                }
                for who, (rate, latencies) in found.items():
                    p50, p99 = statistics.median(latencies), percentile(latencies, 0.99)
                    print(f"| {name} | {clients} | {who} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |", flush=True)
    finally:
        served.end()
        server.stop()


def starting(polder, folder, counts):
    print("\n| tables | ready s | idle MB |\n|---|---|---|")
    for count in counts:
        place = os.path.join(folder, f"tables{count}")
        os.makedirs(os.path.join(place, "models", "gold"))
        with open(os.path.join(place, "polder.yaml"), "w", encoding="ascii") as f:
            f.write("name: bench\n")
        for n in range(count):
            with open(os.path.join(place, "models", "gold", f"t{n}.sql"), "w", encoding="ascii") as f:
                f.write(f"select {n} as n\n")
        subprocess.run([polder, "run"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        served = Served(polder, place)
        time.sleep(3)
        print(f"| {count:,} | {served.seconds:.2f} | {served.memory_mb():.0f} |", flush=True)
        served.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--tables", type=int, nargs="*", default=[1, 1000, 10_000])
    parser.add_argument("--polder", help="this program instead of a release build")
    options = parser.parse_args()
    polder = os.path.abspath(options.polder) if options.polder else build()
    with tempfile.TemporaryDirectory(prefix="polder-bench-") as folder:
        os.chmod(folder, 0o755)
        print(environment.machine())
        serving(polder, os.path.join(folder, "asked"), options.rows, options.seconds)
        starting(polder, folder, options.tables)


def build():
    import run
    return run.build(run.target_folder())


if __name__ == "__main__":
    main()
