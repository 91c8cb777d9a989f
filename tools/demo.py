#!/usr/bin/env python3
"""Polder's main job on several million generated records: a history, a good day, and a bad day that is held.

    tools/demo.py [--orders N] [--folder DIR] [--once]

It ends by serving: psql and curl can ask the tables until Ctrl-C. With --once it ends instead.

PostgreSQL is the one that POLDER_DEMO_PG names (tables go into its schema `polder_demo`), else a private one from the
server programs found on the machine; without any, files take its place. The project stays in `demo/` to look around in.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import pg

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCHEMA = "polder_demo"
DATABASE_TABLES = "customers,products,orders,order_lines"
FILE_TABLES = "payments,events"
GOOD_DAY = "2026-01-01"
BAD_DAY = "2026-01-02"
EXIT_HELD = 1


class Demo:
    def __init__(self, folder, orders):
        self.folder = folder
        self.project = os.path.join(folder, "shop")
        self.orders = orders
        self.polder = None
        self.database = None
        self.started = time.monotonic()
        self.times = []

    # ---- what it says ----

    def colour(self, code, text):
        plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR")
        return text if plain else f"\033[{code}m{text}\033[0m"

    def title(self, text):
        print("\n" + self.colour("1;36", f"── {text} "), flush=True)

    def command(self, *arguments):
        """A command as a person would type it."""
        shown = " ".join(f'"{a}"' if " " in a else a for a in arguments)
        print(self.colour("2", f"$ polder {shown}"), flush=True)

    # ---- what it does ----

    def run(self, *arguments, expect=0, shown=None):
        """Runs polder in the project, its output as it comes."""
        self.command(*(shown or arguments))
        since = time.monotonic()
        code = subprocess.call([self.polder, *arguments], cwd=self.project)
        if code != expect:
            sys.exit(f"demo: polder {arguments[0]} ended with {code}, expected {expect}")
        return time.monotonic() - since

    def ask(self, statement, *arguments):
        """Rows of a statement."""
        command = [self.polder, "sql", "--format", "json", *arguments, statement]
        return json.loads(subprocess.run(command, cwd=self.project, check=True, capture_output=True, text=True).stdout)

    def build(self):
        self.title("Build")
        since = time.monotonic()
        if subprocess.call(["cargo", "build", "--locked", "-p", "polder"], cwd=ROOT) != 0:
            sys.exit("demo: the build failed")
        target = json.loads(subprocess.run(
            ["cargo", "metadata", "--format-version=1", "--no-deps"],
            cwd=ROOT, check=True, capture_output=True, text=True).stdout)["target_directory"]
        self.polder = os.path.join(target, "debug", "polder")
        self.took("build", since)

    def took(self, what, since):
        self.times.append((what, time.monotonic() - since))

    def make_project(self):
        self.title("Project")
        marker = os.path.join(self.folder, ".polder-demo")
        if os.path.isdir(self.folder) and os.listdir(self.folder) and not os.path.exists(marker):
            sys.exit(f"demo: {self.folder} is not empty and was not made by the demo")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        open(marker, "w", encoding="ascii").close()
        self.command("init", "shop", "--example", "shop")
        subprocess.run([self.polder, "init", self.project, "--example", "shop"], check=True)
        if self.database:
            shutil.copy(os.path.join(self.project, "postgres", "shop.yaml"),
                        os.path.join(self.project, "sources", "shop.yaml"))
            with open(os.open(os.path.join(self.project, ".env"), os.O_WRONLY | os.O_CREAT, 0o600), "w",
                      encoding="utf-8") as f:
                f.write(f"SHOP_PG={self.database}\n")

    def generate(self, *arguments):
        size = ["--orders", str(self.orders), *arguments]
        if not self.database:
            self.run("generate", "shop", "--out", "data", *size)
            return
        replace = [] if "--day" in arguments else ["--replace"]
        into = ["generate", "shop", "--tables", DATABASE_TABLES, *size, *replace]
        self.run(*into, "--out", self.database, shown=[*into, "--out", "$SHOP_PG"])
        self.run("generate", "shop", "--tables", FILE_TABLES, *size, "--out", "data")

    def day(self, name, what, *arguments, expect=0):
        self.title(what)
        since = time.monotonic()
        self.generate(*arguments)
        self.took(f"{name}: data", since)
        since = time.monotonic()
        self.run("run", expect=expect)
        self.took(f"{name}: run", since)

    def revenue(self):
        return self.ask("select sum(revenue_eur) as revenue, count(*) as days from gold.daily_revenue")[0]

    def play(self):
        self.make_project()
        self.day("history", f"History: a year, {self.orders:,} orders")
        self.day("good day", "A good day", "--day", GOOD_DAY)
        before = self.revenue()
        self.day("bad day", "A bad day", "--day", BAD_DAY, "--defects", expect=EXIT_HELD)
        self.summary(before)

    def summary(self, before):
        self.title("What there is now")
        self.run("status")
        after = self.revenue()
        assert before == after, f"a held run changed main: {before} became {after}"
        held = self.ask("select max(run) as run from system.runs where status = 'held'")[0]["run"]
        print()
        print(f"Published: a history and {GOOD_DAY}; revenue of {after['days']} days: {after['revenue']} EUR.")
        print(f"Held: {BAD_DAY} (run {held}). Not one of its rows reached main.")
        for row in self.ask(
                f"select resource, check_name, failed_rows from system.checks where run = {held} and not passed"):
            print(f"  {row['resource']}: {row['check_name']} ({row.get('failed_rows') or 0:,} rows)")
        print()
        print("Time: " + ", ".join(f"{what} {seconds:.1f}s" for what, seconds in self.times)
              + f"; all {time.monotonic() - self.started:.0f}s")
        self.next_steps(held)

    def serve(self):
        """Serves until Ctrl-C, which both hear."""
        self.title("Serving, until Ctrl-C")
        self.command("up")
        process = subprocess.Popen([self.polder, "up"], cwd=self.project)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass

    def next_steps(self, held):
        shown = os.path.relpath(self.project)
        relative = os.path.relpath(self.polder, self.project)
        if relative.startswith("../../../"):
            relative = self.polder
        print("\nWhat to type next:")
        print(f"  cd {shown}; alias polder={relative}")
        print('  polder sql "select * from gold.top_products where place <= 3"')
        print(f'  polder sql --ref run/{held} "select * from bronze.shop_orders where created_at > now()"')
        print(f"  polder diff main run/{held}")
        print("  polder log")
        if self.database and not os.environ.get("POLDER_DEMO_PG"):
            print("  ../../tools/pg.py start    # the demo's PostgreSQL, before another `polder run`")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=int(os.environ.get("POLDER_DEMO_ORDERS", "1000000")))
    parser.add_argument("--folder", default=os.path.join(ROOT, "demo"))
    parser.add_argument("--once", action="store_true", help="end instead of serving")
    return parser.parse_args()


@contextlib.contextmanager
def database():
    """The URL of a database for the demo, or None."""
    named = os.environ.get("POLDER_DEMO_PG")
    if named:
        yield f"{named}{'&' if '?' in named else '?'}options=-csearch_path%3D{SCHEMA}"
        return
    server = pg.Server(pg.default_folder())
    try:
        server.start()
    except pg.Unavailable as why:
        print(f"demo: {why}; going on with files only", flush=True)
        yield None
        return
    try:
        yield server.url()
    finally:
        server.stop()


def main():
    arguments = parse_arguments()
    demo = Demo(os.path.abspath(arguments.folder), arguments.orders)
    demo.build()
    with database() as demo.database:
        demo.play()
        if not arguments.once:
            demo.serve()


if __name__ == "__main__":
    main()
