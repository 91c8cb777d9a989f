#!/usr/bin/env python3
"""Polder beside its peers, on the same files, on this machine.

    bench/run.py [--orders N] [--repeat N] [--only NAME...]

Files into tables: beside DuckDB, which writes Parquet. PostgreSQL into tables: beside dlt and DuckDB's PostgreSQL reader.
The whole pipeline of the example: beside dbt-core with dbt-duckdb on the same models. Every figure is the best of some
runs of whole processes, as a person would wait for them; rows and sums are compared before a ratio is given. Peak memory
is the process's greatest resident set.

Polder is measured in its release profile. The peers come from PyPI into a virtual environment of their own.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tools"))

import pg  # noqa: E402

PEERS = os.path.join(HERE, "peers")


class Failed(Exception):
    """A measurement that could not be made; the text says why."""


def peers_python():
    """The Python with the peers; installed at the first time."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    venv = os.path.join(cache, "polder", "bench-venv")
    python, stamp = os.path.join(venv, "bin", "python"), os.path.join(venv, ".polder")
    requirements = os.path.join(HERE, "requirements.txt")
    with open(requirements, encoding="utf-8") as f:
        wanted = f.read()
    if os.path.exists(stamp) and open(stamp, encoding="utf-8").read() == wanted:
        return python
    print("bench: installing the peers from PyPI", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
                   check=True)
    with open(stamp, "w", encoding="utf-8") as f:
        f.write(wanted)
    return python


def build():
    subprocess.run(["cargo", "build", "--locked", "--release", "-p", "polder"], cwd=ROOT, check=True)
    done = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"],
                          cwd=ROOT, check=True, capture_output=True, text=True)
    return os.path.join(json.loads(done.stdout)["target_directory"], "release", "polder")


class Run:
    """One process: how long it took, its greatest resident set, what it printed."""

    def __init__(self, command, cwd, environment=None):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            since = time.perf_counter()
            process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=err, text=True,
                                       env=dict(os.environ, NO_COLOR="1", **(environment or {})))
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - since
            process.returncode = os.waitstatus_to_exitcode(status)
            self.megabytes = usage.ru_maxrss / 1024
            out.seek(0)
            self.out = out.read()
            if process.returncode != 0:
                err.seek(0)
                raise Failed(f"{' '.join(command[:4])} … ended with {process.returncode}\n{self.out}\n{err.read()}")


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.polder = arguments.polder or build()
        self.python = peers_python()
        self.data = os.path.join(folder, "data")
        self.rows = []

    # ---- pieces ----

    def generate(self, *arguments):
        Run([self.polder, "generate", "shop", "--orders", str(self.arguments.orders), *arguments], self.folder)

    def best(self, make):
        """The best of some runs; `make` gives a fresh command each time."""
        runs = []
        for _ in range(self.arguments.repeat):
            runs.append(make())
        return min(runs, key=lambda r: r.seconds)

    def project(self, files):
        folder = os.path.join(self.folder, "project")
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in {"polder.yaml": "name: bench\n", **files}.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return folder

    def ask(self, project, statement):
        out = Run([self.polder, "sql", "--format", "json", statement], project).out
        return json.loads(out)[0]

    def polder_run(self, files, environment=None):
        folder = self.project(files)
        return Run([self.polder, "run", "--format", "json"], folder, environment), folder

    def peer(self, script, *arguments):
        """A script below bench/peers; its last line of output is what it found, as JSON."""
        folder = os.path.join(self.folder, "peer")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        run = Run([self.python, os.path.join(PEERS, script), *arguments], folder)
        return run, json.loads(run.out.strip().split("\n")[-1])

    def add(self, name, rows, ours, peers, same):
        for peer, theirs in peers.items():
            self.rows.append({
                "what": name, "rows": rows, "polder_s": ours.seconds, "polder_mb": ours.megabytes, "peer": peer,
                "peer_s": theirs.seconds, "peer_mb": theirs.megabytes, "ratio": ours.seconds / theirs.seconds,
                "same": same[peer],
            })
            print(self.line(self.rows[-1]), flush=True)

    @staticmethod
    def line(r):
        same = "same sums" if r["same"] else "SUMS DIFFER"
        return (f"{r['what']:<22} {r['rows']:>10,} rows  polder {r['polder_s']:6.2f}s {r['polder_mb']:6.0f} MB   "
                f"{r['peer']:<16} {r['peer_s']:6.2f}s {r['peer_mb']:6.0f} MB   ratio {r['ratio']:.2f}  {same}")

    # ---- what is measured ----

    def files(self, name, table, extension, summed):
        """One big file into a table."""
        path = os.path.join(self.data, extension, table)
        pattern = f"{path}/*.{extension}"
        if not os.path.exists(path):
            self.generate("--out", os.path.join(self.data, extension), "--tables", table, "--format", extension)
        source = {"sources/bench.yaml": f"files: {pattern}\n"}
        folders = []

        def ours():
            run, folder = self.polder_run(source)
            folders.append(folder)
            return run

        polder = self.best(ours)
        found = self.ask(folders[-1], f"select count(*) as n, cast(sum({summed}) as varchar) as s from bronze.bench")
        peers = [self.peer("duckdb_files.py", extension, pattern, summed) for _ in range(self.arguments.repeat)]
        theirs, their_sums = min(peers, key=lambda p: p[0].seconds)
        same = found["n"] == their_sums["n"] and float(found["s"]) == float(their_sums["s"])
        self.add(name, found["n"], polder, {"DuckDB": theirs}, {"DuckDB": same})

    def csv(self):
        self.files("CSV → table", "order_lines", "csv", "quantity")

    def jsonl(self):
        self.files("JSON lines → table", "events", "jsonl", "product_id")

    def parquet(self):
        self.files("Parquet → table", "order_lines", "parquet", "quantity")

    def postgres(self):
        with pg.private_server() as server:
            url = server.url()
            self.generate("--out", url, "--tables", "order_lines", "--replace")
            source = {"sources/bench.yaml": f"postgres: {url}\ntables: {{ order_lines: full }}\n"}
            folders = []

            def ours():
                run, folder = self.polder_run(source)
                folders.append(folder)
                return run

            polder = self.best(ours)
            found = self.ask(folders[-1], "select count(*) as n, sum(quantity) as s from bronze.bench_order_lines")
            peers, same = {}, {}
            for name, script in [("DuckDB", "duckdb_postgres.py"), ("dlt", "dlt_postgres.py")]:
                runs = [self.peer(script, url, "order_lines", "quantity") for _ in range(self.arguments.repeat)]
                peers[name], sums = min(runs, key=lambda p: p[0].seconds)
                same[name] = (found["n"], float(found["s"])) == (sums["n"], float(sums["s"]))
            self.add("PostgreSQL → table", found["n"], polder, peers, same)

    def pipeline(self):
        """The whole example: files in, models, checks."""
        data = os.path.join(self.data, "shop")
        if not os.path.exists(data):
            self.generate("--out", data)

        def ours():
            folder = os.path.join(self.folder, "shop")
            shutil.rmtree(folder, ignore_errors=True)
            Run([self.polder, "init", folder, "--example", "shop"], self.folder)
            os.symlink(data, os.path.join(folder, "data"))
            return Run([self.polder, "run", "--format", "json"], folder)

        polder = self.best(ours)
        statement = "select count(*) as n, cast(sum(revenue_eur) as varchar) as s from gold.daily_revenue"
        found = self.ask(os.path.join(self.folder, "shop"), statement)
        runs = [self.peer("dbt_shop.py", data, os.path.join(ROOT, "examples", "shop"))
                for _ in range(self.arguments.repeat)]
        theirs, sums = min(runs, key=lambda p: p[0].seconds)
        same = found["n"] == sums["n"] and float(found["s"]) == float(sums["s"])
        rows = sum(json.loads(line)["report"]["rows"] or 0 for line in polder.out.splitlines()
                   if '"step_finished"' in line and '"ingest"' in line)
        self.add("the example's pipeline", rows, polder, {"dbt + DuckDB": theirs}, {"dbt + DuckDB": same})

    def memory(self):
        """Peak memory of an ingest of five million rows, without a peer."""
        path = os.path.join(self.data, "memory")
        orders = 2_010_000
        Run([self.polder, "generate", "shop", "--orders", str(orders), "--tables", "order_lines", "--out", path],
            self.folder)
        run, folder = self.polder_run({"sources/bench.yaml": f"files: {path}/order_lines/*.csv\n"})
        rows = self.ask(folder, "select count(*) as n from bronze.bench")["n"]
        shutil.rmtree(path)
        print(f"{'peak memory':<22} {rows:>10,} rows  polder {run.seconds:6.2f}s {run.megabytes:6.0f} MB", flush=True)
        self.rows.append({"what": "peak memory", "rows": rows, "polder_s": run.seconds, "polder_mb": run.megabytes})

    def version(self):
        """How long a person waits for `polder --version`."""
        best = min(Run([self.polder, "--version"], self.folder).seconds for _ in range(20))
        print(f"{'polder --version':<22} {best * 1000:.1f} ms", flush=True)
        self.rows.append({"what": "polder --version", "polder_s": best})


NAMES = ["version", "csv", "jsonl", "parquet", "postgres", "pipeline", "memory"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--polder", help="this program instead of a release build")
    parser.add_argument("--json", help="write the figures to a file as well")
    arguments = parser.parse_args()
    failed = False
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="polder-bench-"))
        bench = Bench(arguments, folder)
        print(f"{os.cpu_count()} cores, {arguments.orders:,} orders, best of {arguments.repeat}; "
              "ratio: Polder's time over the peer's, less is better", flush=True)
        for name in arguments.only:
            try:
                getattr(bench, name)()
            except (Failed, pg.Unavailable, subprocess.CalledProcessError) as why:
                failed = True
                print(f"{name}: not measured: {why}", flush=True)
        failed |= any(r.get("same") is False for r in bench.rows)
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as f:
                json.dump(bench.rows, f, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
