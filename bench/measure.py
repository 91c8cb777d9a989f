"""Processes and what they cost; pairs of them, and their medians."""

import os
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

# A process that takes longer hangs.
PATIENCE_S = 900


class Failed(Exception):
    """A measurement that could not be made; the text says why."""


@dataclass
class Process:
    """One finished process."""

    seconds: float
    # Its greatest resident set.
    peak_bytes: int
    out: str


def run(command, cwd, environment=None):
    """Runs a process to its end. Fails when it does not succeed."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        since = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True,
                                   env=dict(os.environ, NO_COLOR="1", **(environment or {})))
        # By hand: `os.wait4` knows no time limit.
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            # Not `process.wait`: the usage of this child alone is wanted.
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            watchdog.cancel()
        seconds = time.perf_counter() - since
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
        if process.returncode != 0:
            said = "\n".join(text.strip()[-2000:] for text in texts if text.strip())
            program = os.path.basename(command[0])
            how = f"ended with {process.returncode}" if seconds < PATIENCE_S else f"took over {PATIENCE_S} s"
            raise Failed(f"{program} {' '.join(command[1:3])} … {how}\n{said}")
        return Process(seconds, usage.ru_maxrss * 1024, texts[0])


def folder_bytes(folder):
    """Bytes of all files below a folder."""
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)


@dataclass
class Sample:
    """One job done once, by Polder or by a peer."""

    seconds: float
    peak_bytes: int
    # What was left on the disk.
    written_bytes: int
    # Counts and sums over what was written: by name, as exact numbers.
    digest: dict


@dataclass
class Comparison:
    """Polder and a peer at the same job, alternately. Only made of samples whose digests are equal."""

    what: str
    rows: int
    peer: str
    ours: list = field(default_factory=list)
    theirs: list = field(default_factory=list)

    @property
    def ratios(self):
        """Polder's time over the peer's, of each pair."""
        return [a.seconds / b.seconds for a, b in zip(self.ours, self.theirs)]


def median_of(samples, name):
    return statistics.median(getattr(sample, name) for sample in samples)


def compare(what, peer, pairs, ours, theirs):
    """Does the job in pairs. Who comes first changes from pair to pair, so that neither always finds the other's traces
    in the caches."""
    done = Comparison(what, 0, peer)
    for number in range(pairs):
        for is_ours in ((True, False), (False, True))[number % 2]:
            # What earlier work left to be written is written now, and not on the clock of the next.
            os.sync()
            (done.ours if is_ours else done.theirs).append((ours if is_ours else theirs)())
        found, wanted = done.ours[-1].digest, done.theirs[-1].digest
        if found != wanted:
            differ = [f"{name}: {found.get(name)} and {wanted.get(name)}"
                      for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
            raise Failed(f"{what}: Polder and {peer} do not find the same sums: {'; '.join(differ)}")
    return done
