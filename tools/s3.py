#!/usr/bin/env python3
"""Private S3 servers for tests: moto (from PyPI, in the virtual environment that tools/setup.sh makes) and versitygw
(built with Go, kept in the cache).

    tools/s3.py run -- COMMAND...   start both, run the command with POLDER_TEST_S3 (moto) and POLDER_TEST_VERSITYGW
                                    set, stop them, clean up; what cannot be started is said and left out

The variables hold `http://KEY:SECRET@127.0.0.1:PORT/BUCKET`. The bucket is there and empty. POLDER_NO_INSTALL=1 forbids
building versitygw.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BUCKET = "polder-test"
VERSITYGW = "v1.8.0"


class Unavailable(Exception):
    """A server cannot be started; the text says why."""


def cache():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "polder")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(name, command, port, folder, environment=None):
    """A server that listens on `port`, ended afterwards."""
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                                   env=dict(os.environ, **(environment or {})), start_new_session=True)
    try:
        await_ready(name, process, port, folder)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()


def await_ready(name, process, port, folder, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as f:
        raise Unavailable(f"{name} does not start: {f.read()[-500:].strip()}")


@contextlib.contextmanager
def moto():
    """The URL of a fresh moto."""
    venv = os.path.dirname(os.path.dirname(subprocess.check_output(
        ["sh", os.path.join(os.path.dirname(os.path.abspath(__file__)), "setup.sh"), "--python"], text=True).strip()))
    program = os.path.join(venv, "bin", "moto_server")
    if not os.access(program, os.X_OK):
        raise Unavailable("moto is not installed (tools/setup.sh does it)")
    with tempfile.TemporaryDirectory(prefix="polder-moto-") as folder:
        port = free_port()
        with running("moto", [program, "-H", "127.0.0.1", "-p", str(port)], port, folder):
            # It takes whoever asks for who they say they are.
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
            try:
                urllib.request.urlopen(request, timeout=30).close()
            except (OSError, urllib.error.URLError) as why:
                raise Unavailable(f"moto makes no bucket: {why}") from why
            yield f"http://polder:{secrets.token_hex(8)}@127.0.0.1:{port}/{BUCKET}"


def built_versitygw():
    """The program, built the first time."""
    folder = os.path.join(cache(), "bin")
    program = os.path.join(folder, f"versitygw-{VERSITYGW}")
    if os.access(program, os.X_OK):
        return program
    if os.environ.get("POLDER_NO_INSTALL"):
        raise Unavailable("versitygw is not built, and POLDER_NO_INSTALL forbids it")
    if not shutil.which("go"):
        raise Unavailable("there is no Go to build versitygw with")
    print(f"s3: building versitygw {VERSITYGW} (Go)", file=sys.stderr)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="polder-go-", dir=folder) as target:
        environment = dict(os.environ, GOBIN=target, CGO_ENABLED="0", GOFLAGS="-buildvcs=false", GOTOOLCHAIN="local")
        command = ["go", "install", "-ldflags", "-s -w", f"github.com/versity/versitygw/cmd/versitygw@{VERSITYGW}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"versitygw does not build: {done.stderr.strip()[-300:]}")
        os.replace(os.path.join(target, "versitygw"), program)
    return program


@contextlib.contextmanager
def versitygw():
    """The URL of a fresh versitygw, over a folder."""
    program = built_versitygw()
    with tempfile.TemporaryDirectory(prefix="polder-versitygw-") as folder:
        # A folder is a bucket.
        os.makedirs(os.path.join(folder, "data", BUCKET))
        port, secret = free_port(), secrets.token_hex(16)
        command = [program, "--port", f"127.0.0.1:{port}", "posix", os.path.join(folder, "data")]
        keys = {"ROOT_ACCESS_KEY": "polder", "ROOT_SECRET_KEY": secret}
        with running("versitygw", command, port, folder, keys):
            yield f"http://polder:{secret}@127.0.0.1:{port}/{BUCKET}"


def run(command):
    environment = dict(os.environ)
    with contextlib.ExitStack() as servers:
        for variable, server in (("POLDER_TEST_S3", moto), ("POLDER_TEST_VERSITYGW", versitygw)):
            try:
                environment[variable] = servers.enter_context(server())
            except Unavailable as why:
                print(f"S3: {why}; tests that need it are left out", file=sys.stderr)
        return subprocess.call(command, env=environment)


def main(arguments):
    match arguments:
        case ["run", "--", *command] if command:
            return run(command)
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
