#!/usr/bin/env python3
"""`make check`: what a change must not break, beside the tests.

    tools/check.py            run all checks; --only NAME... runs some
    tools/check.py --write    write the generated files (docs/cli.md, docs/schemas/) anew
"""

import argparse
import json
import os
import py_compile
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Two connections could corrupt a WAL before this version.
SQLITE_LEAST = (3, 51, 3)
MAX_LINES = 800


class Wrong(Exception):
    """A check does not hold; the text says what to mend."""


def cargo(*arguments, **keywords):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=False, **keywords)


def metadata():
    done = cargo("metadata", "--format-version=1", "--locked", capture_output=True, text=True)
    if done.returncode != 0:
        raise Wrong(done.stderr.strip())
    return json.loads(done.stdout)


def files(*endings):
    """The project's own files, as git would add them."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
                            cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [f for f in listed.split("\0") if f.endswith(endings) and os.path.exists(os.path.join(ROOT, f))]


def check_format():
    if cargo("fmt", "--all", "--check").returncode != 0:
        raise Wrong("`cargo fmt` mends it")


def check_lints():
    if cargo("clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings").returncode != 0:
        raise Wrong("clippy found something")


def levels():
    """Crate → (level, place in it), from the table in ARCHITECTURE.md. `a` over `b`: a may use b."""
    found = {}
    with open(os.path.join(ROOT, "ARCHITECTURE.md"), encoding="utf-8") as f:
        for line in f:
            if row := re.match(r"\| (\d+) \| ([^|]*) \|", line):
                stacked = row.group(2).split(" over ")
                for place, part in enumerate(reversed(stacked)):
                    for name in re.findall(r"`([a-z_]+)`", part):
                        found[name] = (int(row.group(1)), place)
    return found


def check_levels():
    known = levels()
    members = {p["name"]: p for p in metadata()["packages"] if p["source"] is None}
    wrong = []
    for package in members.values():
        crate = package["name"].removeprefix("polder-")
        if crate not in known:
            wrong.append(f"{crate} has no level in ARCHITECTURE.md")
            continue
        for dependency in package["dependencies"]:
            # A test may use anything.
            if dependency["kind"] == "dev" or dependency["name"] not in members:
                continue
            other = dependency["name"].removeprefix("polder-")
            if known.get(other, (99, 0)) >= known[crate]:
                wrong.append(f"{crate} (level {known[crate][0]}) uses {other} (level {known.get(other, '?')[0]})")
    if wrong:
        raise Wrong("arrows that do not point down:\n  " + "\n  ".join(wrong))
    for crate in sorted(set(known) - {n.removeprefix("polder-") for n in members}):
        raise Wrong(f"ARCHITECTURE.md names a crate that is not there: {crate}")


def check_fence():
    """DataFusion and Arrow begin at level 5; `iceberg` is named by `table` alone."""
    known = levels()
    wrong = []
    for package in metadata()["packages"]:
        if package["source"] is not None:
            continue
        crate = package["name"].removeprefix("polder-")
        for dependency in package["dependencies"]:
            name = dependency["name"]
            low = known.get(crate, (0, 0))[0] < 5
            if low and re.match(r"(datafusion|arrow|parquet)(-|$)", name) and dependency["kind"] != "dev":
                wrong.append(f"{crate} uses {name}")
            if name == "iceberg" and crate != "table":
                wrong.append(f"{crate} names iceberg")
    if wrong:
        raise Wrong("\n  ".join(["over the fence:", *wrong]))


def features(*selection):
    """Every third-party package of a selection with the features that it is built with."""
    done = cargo("tree", "--locked", *selection, "-e", "normal,build,dev", "-f", "{p} {f}", "--prefix", "none",
                 capture_output=True, text=True)
    if done.returncode != 0:
        raise Wrong(done.stderr.strip())
    lines = (line.removesuffix(" (*)").strip() for line in done.stdout.splitlines())
    return {line for line in lines if line and not line.startswith("polder")}


def check_features():
    """One crate built alone uses the same DataFusion as the whole workspace: see crates/lake/Cargo.toml."""
    everything = features("--workspace")
    for crate in ("lake", "sql", "app"):
        if odd := sorted(features("-p", f"polder-{crate}") - everything):
            raise Wrong(f"building polder-{crate} alone compiles these anew (make their features equal in "
                        "crates/lake/Cargo.toml):\n  " + "\n  ".join(odd))


def check_lines():
    long = []
    for name in files(".rs", ".py", ".sh"):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            count = sum(1 for _ in f)
        if count > MAX_LINES:
            long.append(f"{name}: {count} lines")
    if long:
        raise Wrong(f"files over {MAX_LINES} lines have a second noun in them:\n  " + "\n  ".join(long))


def check_sqlite():
    packages = [p for p in metadata()["packages"] if p["name"] == "libsqlite3-sys"]
    for package in packages:
        header = os.path.join(os.path.dirname(package["manifest_path"]), "sqlite3", "sqlite3.h")
        with open(header, encoding="utf-8", errors="replace") as f:
            version = re.search(r'#define SQLITE_VERSION\s+"([0-9.]+)"', f.read()).group(1)
        if tuple(map(int, version.split("."))) < SQLITE_LEAST:
            raise Wrong(f"SQLite {version} (of libsqlite3-sys {package['version']}) can corrupt a WAL: "
                        f"at least {'.'.join(map(str, SQLITE_LEAST))}")


def check_scripts():
    with tempfile.TemporaryDirectory() as scratch:
        for name in files(".py"):
            try:
                py_compile.compile(os.path.join(ROOT, name), cfile=os.path.join(scratch, "c"), doraise=True)
            except py_compile.PyCompileError as error:
                raise Wrong(str(error)) from error
    for name in files(".sh", ".ci/run"):
        if subprocess.run(["sh", "-n", name], cwd=ROOT, check=False).returncode != 0:
            raise Wrong(f"{name} is no shell script")


def generated():
    """Generated file → its text as it should be."""
    if cargo("build", "--locked", "-p", "polder").returncode != 0:
        raise Wrong("the build failed")
    polder = os.path.join(metadata()["target_directory"], "debug", "polder")
    run = lambda *a: subprocess.run([polder, *a], check=True, capture_output=True, text=True).stdout
    texts = {"docs/cli.md": run("reference")}
    with tempfile.TemporaryDirectory() as folder:
        run("schema", "--out", folder)
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                texts[f"docs/schemas/{name}"] = f.read()
    return texts


def check_generated():
    stale = []
    for name, text in generated().items():
        path = os.path.join(ROOT, name)
        if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
            stale.append(name)
    if stale:
        raise Wrong(f"stale: {', '.join(stale)}; `make generated` writes them")


def write_generated():
    for name, text in generated().items():
        path = os.path.join(ROOT, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        print(name)


# The quick ones first.
CHECKS = {
    "format": check_format,
    "scripts": check_scripts,
    "lines": check_lines,
    "levels": check_levels,
    "fence": check_fence,
    "features": check_features,
    "sqlite": check_sqlite,
    "lints": check_lints,
    "generated": check_generated,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--write", action="store_true", help="write the generated files anew")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    arguments = parser.parse_args()
    if arguments.write:
        write_generated()
        return 0
    failed = 0
    for name in arguments.only:
        since = time.monotonic()
        try:
            CHECKS[name]()
            print(f"ok    {name}  {time.monotonic() - since:.1f}s", flush=True)
        except Wrong as why:
            failed += 1
            print(f"WRONG {name}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
