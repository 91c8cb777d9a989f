#!/usr/bin/env python3
"""What it takes to plan a project of many models, beside dbt-core and SQLMesh.

    bench/planning.py [--models N] [--pairs N] [--polder PROGRAM]

The same models, layer on layer, are written in the way of each: names of tables for Polder and SQLMesh, `ref()` for
dbt. *Cold*: the project was never looked at on this machine. *Unchanged*: all of it was built (dbt: parsed) before, and
nothing was touched since. Whole processes are on the clock, and how many models each has found is compared.
"""

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.dont_write_bytecode = True

import environment  # noqa: E402
from measure import Failed, run  # noqa: E402

# Models of one layer; each reads two of the layer below.
WIDTH = 100

QUIET = {"DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "1"}


def name(number):
    return f"m{number:05}"


def statement(number, table):
    """The SQL of a model; `table` says how another one is named."""
    if number < WIDTH:
        return f"select {number} as id, {number % 7 + 1} as amount, 'r{number % 5}' as region\n"
    above = number - WIDTH
    other = above - above % WIDTH + (above * 7 + 1) % WIDTH
    return (f"with base as (\n  select id, amount, region from {table(above)} where amount > 0\n),\n"
            f"other as (\n  select region, sum(amount) as amount from {table(other)} group by region\n)\n"
            "select base.id, base.amount + coalesce(other.amount, 0) % 100 as amount, base.region\n"
            "from base left join other on other.region = base.region\n")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


class Tool:
    """A tool over a project of its own in `folder`."""

    def __init__(self, folder, models):
        self.folder = folder
        self.models = models

    def models_into(self, subfolder, table, head="", ending=".sql"):
        for number in range(self.models):
            path = os.path.join(self.folder, subfolder, f"layer{number // WIDTH}", name(number) + ending)
            write(path, head.format(name=name(number)) + statement(number, table))

    def run(self, *command):
        return run([self.program, *command], self.folder, QUIET)

    def forget(self):
        """Makes the project one that was never looked at."""
        for path in self.traces:
            shutil.rmtree(os.path.join(self.folder, path), ignore_errors=True)
            if os.path.isfile(os.path.join(self.folder, path)):
                os.remove(os.path.join(self.folder, path))


class Polder(Tool):
    name = "Polder"
    traces = [".polder"]

    def __init__(self, folder, models, program):
        super().__init__(folder, models)
        self.program = program
        write(os.path.join(folder, "polder.yaml"), "name: many\n")
        self.models_into("models/gold", lambda n: f"gold.{name(n)}")

    def build(self):
        self.run("run")

    def validate(self):
        return self.run("validate")

    def plan(self):
        return self.run("plan")

    @staticmethod
    def count(out):
        return len(set(re.findall(r"\bm\d{5}\b", "\n".join(line.split(" when ")[0] for line in out.splitlines()))))


class Dbt(Tool):
    name = "dbt-core"
    traces = ["target", "logs", "many.duckdb"]

    def __init__(self, folder, models, program):
        super().__init__(folder, models)
        self.program = program
        write(os.path.join(folder, "dbt_project.yml"),
              "name: many\nversion: '1.0'\nprofile: many\nmodels: {+materialized: table}\n"
              "flags: {send_anonymous_usage_stats: false}\n")
        write(os.path.join(folder, "profiles.yml"),
              "many: {target: dev, outputs: {dev: {type: duckdb, path: many.duckdb, schema: gold, threads: 2}}}\n")
        self.models_into("models", lambda n: "{{ ref('" + name(n) + "') }}")

    def build(self):
        self.parse("--quiet")

    def parse(self, *options):
        return self.run("parse", "--profiles-dir", ".", *options)

    def list(self):
        return self.run("--quiet", "ls", "--profiles-dir", ".", "--resource-type", "model")

    def compile(self):
        return self.run("--quiet", "compile", "--profiles-dir", ".", "--no-introspect")

    @staticmethod
    def count(out):
        return len(set(re.findall(r"\bm\d{5}\b", out)))


class Sqlmesh(Tool):
    name = "SQLMesh"
    traces = [".cache", "logs", "many.duckdb"]

    def __init__(self, folder, models, program):
        super().__init__(folder, models)
        self.program = program
        write(os.path.join(folder, "config.yaml"),
              "gateways: {local: {connection: {type: duckdb, database: many.duckdb}}}\ndefault_gateway: local\n"
              "model_defaults: {dialect: duckdb, start: '2026-01-01'}\ndisable_anonymized_analytics: true\n")
        self.models_into("models", lambda n: f"gold.{name(n)}", head="MODEL (name gold.{name}, kind FULL);\n\n")

    def build(self):
        self.run("plan", "--auto-apply", "--no-prompts", "--skip-tests", "--skip-linter")

    def plan(self):
        return self.run("plan", "--explain", "--no-prompts", "--skip-tests", "--skip-linter")

    def loaded(self):
        return self.run("info", "--skip-connection")

    @staticmethod
    def count(out):
        found = re.search(r"Models: (\d+)", out)
        return int(found.group(1)) if found else 0


class Case:
    """A job of Polder's beside a peer's."""

    def __init__(self, what, ours, peer, command, theirs, cold):
        self.what, self.ours, self.peer, self.command, self.theirs, self.cold = what, ours, peer, command, theirs, cold

    def measure(self, polder, pairs):
        ratios, times = [], ([], [])
        for number in range(pairs):
            done = {}
            for ours in ((True, False), (False, True))[number % 2]:
                tool, job = (polder, self.ours) if ours else (self.peer, self.theirs)
                if self.cold:
                    tool.forget()
                os.sync()
                done[ours] = job()
            times[0].append(done[True].seconds)
            times[1].append(done[False].seconds)
            ratios.append(done[True].seconds / done[False].seconds)
        ours, theirs = (statistics.median(each) for each in times)
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        return (f"| {self.what} | {self.peer.name}: `{self.command}` | {ours:.2f} s | {theirs:.2f} s "
                f"| {statistics.median(ratios):.2f} | {spread} |")


def tools(folder, options, peers, polder):
    """Polder, and the peers that there are."""
    ours = Polder(os.path.join(folder, "polder"), options.models, polder)
    found = []
    for kind, peer, program in ((Dbt, "dbt with DuckDB", "dbt"), (Sqlmesh, "SQLMesh", "sqlmesh")):
        if peers.lacks(peer):
            print(f"{kind.name} is left out: there is no {', '.join(peers.lacks(peer))}", file=sys.stderr)
        else:
            place = os.path.join(os.path.dirname(peers.python), program)
            found.append(kind(os.path.join(folder, program), options.models, place))
    return ours, found


def cases(polder, found):
    for peer in found:
        if isinstance(peer, Dbt):
            yield Case("read and validate, cold", polder.validate, peer, "dbt parse --no-partial-parse",
                       lambda peer=peer: peer.parse("--quiet", "--no-partial-parse"), True)
            yield Case("plan, cold", polder.plan, peer, "dbt compile", peer.compile, True)
        else:
            yield Case("plan, cold", polder.plan, peer, "sqlmesh plan --explain", peer.plan, True)
    # All that follows is over projects that are built.
    for tool in (polder, *found):
        tool.forget()
        print(f"bench: building the models with {tool.name}", file=sys.stderr, flush=True)
        tool.build()
    for peer in found:
        if isinstance(peer, Dbt):
            yield Case("plan, unchanged", polder.plan, peer, "dbt ls", peer.list, False)
            yield Case("plan, unchanged", polder.plan, peer, "dbt compile", peer.compile, False)
        else:
            yield Case("plan, unchanged", polder.plan, peer, "sqlmesh plan --explain", peer.plan, False)


def check_counts(polder, found, wanted):
    """All have to have found all models."""
    counts = {polder.name: polder.count(polder.plan().out)}
    for peer in found:
        counts[peer.name] = peer.count((peer.list() if isinstance(peer, Dbt) else peer.loaded()).out)
    print(f"models found: {', '.join(f'{who} {count:,}' for who, count in counts.items())}\n")
    if any(count != wanted for count in counts.values()):
        sys.exit(f"the tools do not find the same models: {counts}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--polder", help="this program instead of a release build")
    options = parser.parse_args()
    polder = os.path.abspath(options.polder) if options.polder else build()
    peers = environment.Peers()
    with tempfile.TemporaryDirectory(prefix="polder-bench-") as folder:
        print(environment.machine())
        print({package: peers.versions.get(package) for package in ("dbt-core", "dbt-duckdb", "sqlmesh")})
        ours, found = tools(folder, options, peers, polder)
        check_counts(ours, found, options.models)
        print("| what | beside | Polder | peer | ratio | spread |\n|---|---|---|---|---|---|")
        try:
            for case in cases(ours, found):
                print(case.measure(ours, options.pairs), flush=True)
        except Failed as why:
            sys.exit(str(why))


def build():
    import run as whole
    return whole.build(whole.target_folder())


if __name__ == "__main__":
    main()
