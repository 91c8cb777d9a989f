"""What is measured with: the peers from PyPI in a Python of their own, and the machine."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys

import pg

HERE = os.path.dirname(os.path.abspath(__file__))

# Peers as reports call them, and the packages that each consists of.
PEERS = {
    "DuckDB": ["duckdb"],
    "DuckDB's PostgreSQL reader": ["duckdb", "duckdb-extension-postgres-scanner"],
    "dlt": ["dlt", "connectorx", "psycopg2-binary", "duckdb"],
    "dbt with DuckDB": ["dbt-core", "dbt-duckdb", "duckdb"],
    "SQLMesh": ["sqlmesh", "duckdb"],
}

# One line of JSON: the version of each package, or null.
VERSIONS = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


class Peers:
    """The peers that there are. Those that cannot be had are known by name, with the packages that they lack."""

    def __init__(self):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.folder = os.path.join(cache, "polder", "bench-venv")
        self.python = os.path.join(self.folder, "bin", "python")
        self.install()
        packages = sorted({package for needed in PEERS.values() for package in needed})
        self.versions = dict.fromkeys(packages)
        if os.path.exists(self.python):
            asked = subprocess.run([self.python, "-c", VERSIONS, *packages], check=True, capture_output=True, text=True)
            self.versions = json.loads(asked.stdout)

    def lacks(self, peer):
        """The packages that a peer lacks."""
        return [package for package in PEERS[peer] if not self.versions[package]]

    def install(self):
        """Installs the versions of requirements.txt, unless they are there."""
        with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as f:
            wanted = f.read()
        stamp = os.path.join(self.folder, ".polder")
        if os.path.exists(stamp):
            with open(stamp, encoding="utf-8") as f:
                if f.read() == wanted:
                    return
        if os.environ.get("POLDER_NO_INSTALL"):
            return
        print(f"bench: installing the peers from PyPI into {self.folder}", file=sys.stderr)
        if subprocess.run([sys.executable, "-m", "venv", "--clear", self.folder], check=False).returncode != 0:
            return
        requirements = [line for line in wanted.splitlines() if line and not line.startswith("#")]
        # One that cannot be had must not take the others along: they are tried alone then.
        if self.pip(requirements) or all([self.pip([one]) for one in requirements]):
            with open(stamp, "w", encoding="utf-8") as f:
                f.write(wanted)

    def pip(self, requirements):
        if shutil.which("uv"):
            command = ["uv", "pip", "install", "--quiet", "--python", self.python]
        else:
            command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "10",
                       "--retries", "1"]
        return subprocess.run([*command, *requirements], check=False).returncode == 0


def machine():
    """The machine and how busy it was when the measurements began."""
    processor = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            found = re.search(r"^model name\s*: (.*)$", f.read(), re.MULTILINE)
            processor = found.group(1) if found else ""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "processor": processor or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
    }


def postgres_version():
    """The version of the PostgreSQL server that `tools/pg.py` starts, or nothing."""
    try:
        program = os.path.join(pg.find(), "postgres")
    except pg.Unavailable:
        return None
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"[\d.]+", said).group()
