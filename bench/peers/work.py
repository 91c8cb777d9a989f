"""What the peers' scripts share: they time their own work, without the start of Python and its imports, and print what
it cost and what it left as one line of JSON."""

import json
import os
import resource
import time


def folder_bytes(folder):
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)


def measure(work, output, digest):
    """`work` is on the clock; `output` is the folder or file it writes; `digest` verifies it and is not on the clock."""
    since = time.perf_counter()
    work()
    seconds = time.perf_counter() - since
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    written = folder_bytes(output) if os.path.isdir(output) else os.path.getsize(output)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "written_bytes": written, "digest": digest()}))


def sums(connection, table, statement):
    """The digest of a table: one row of DuckDB, by name, everything as text."""
    cursor = connection.execute(f"SELECT {statement} FROM {table}")
    names = [column[0] for column in cursor.description]
    return {name: str(value) for name, value in zip(names, cursor.fetchone())}
