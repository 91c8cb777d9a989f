#!/usr/bin/env python3
"""Polder beside its peers, on the same data, on this machine.

    bench/run.py [--orders N] [--pairs N] [--only NAME...]

Polder is measured in its release profile; the peers come from PyPI into a virtual environment of their own. What each
figure means, and what is not fair about it, stands in docs/benchmarks.md. The tables are printed and written to
`bench/results.md` and `bench/results.json` in cargo's target folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tools"))
sys.dont_write_bytecode = True

import environment  # noqa: E402
import pg  # noqa: E402
from cases import NAMES, Bench, Figure  # noqa: E402
from measure import Failed, run  # noqa: E402
from report import Report  # noqa: E402


def target_folder():
    done = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"],
                          cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["target_directory"]


def build(target):
    subprocess.run(["cargo", "build", "--locked", "--release", "-p", "polder"], cwd=ROOT, check=True)
    return os.path.join(target, "release", "polder")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders of the generated shop [%(default)s]")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs of each comparison [%(default)s]")
    parser.add_argument("--tables", type=int, default=10_000, help="tables of the catalog that commits go to [%(default)s]")
    parser.add_argument("--commits", type=int, default=200, help="commits of each kind [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--polder", help="this program instead of a release build")
    parser.add_argument("--commits-program", help="this build of the benchmark `commits` instead of `cargo bench`")
    parser.add_argument("--out", help="folder for the results instead of cargo's target folder")
    return parser.parse_args()


def measure(bench, names, report, results):
    """Each case by itself: one that fails is told, and the others go on. What there is so far is always written."""
    for name in names:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        try:
            for found in getattr(bench, name)():
                (report.figures if isinstance(found, Figure) else report.comparisons).append(found)
        except pg.Unavailable as why:
            bench.left_out.append(f"{name}: {why}")
        except Failed as why:
            print(why, file=sys.stderr, flush=True)
            report.failed.append(f"{name}: {str(why).splitlines()[0]}")
        report.left_out = bench.left_out
        report.write(results)


def main():
    options = parse_arguments()
    target = target_folder()
    results = os.path.abspath(options.out) if options.out else os.path.join(target, "bench")
    polder = os.path.abspath(options.polder) if options.polder else build(target)
    peers = environment.Peers()
    said = run([polder, "--version"], ROOT).out.strip()
    about = {
        "polder": f"{said}, {'a build that was handed in' if options.polder else 'release profile'}",
        "orders": options.orders,
        "machine": environment.machine(),
        "versions": {**peers.versions, "PostgreSQL": environment.postgres_version()},
    }
    report = Report(about, options.pairs)
    with tempfile.TemporaryDirectory(prefix="polder-bench-") as folder:
        measure(Bench(polder, peers, folder, options), options.only, report, results)
    print(report.text())
    print(f"Written to {results}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
