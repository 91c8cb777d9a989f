#!/usr/bin/env python3
"""A private PostgreSQL for tests and the demo, from the server programs found on the machine.

    tools/pg.py run -- COMMAND...   start a fresh server, run the command with POLDER_TEST_PG set, stop, clean up
    tools/pg.py start [DIR]         start (or go on with) the server whose data is in DIR, print its URL
    tools/pg.py stop [DIR]          stop it; the data stays
    tools/pg.py find                print where the server programs are

It listens on 127.0.0.1 only, on a free port, with a random password. PostgreSQL refuses to run as root; for root it
runs as `postgres`, or else as `nobody`.
"""

import contextlib
import glob
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Data that can be made again: speed before safety.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


class Unavailable(Exception):
    """There is no PostgreSQL server to start; the text says why."""


def find():
    """The folder with `initdb` and `postgres`: the newest of Debian's versions, or what PATH gives."""
    def version(path):
        return [int(n) for n in re.findall(r"\d+", path)]

    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=version, reverse=True)
    folders += glob.glob("/opt/homebrew/opt/postgresql*/bin") + os.environ.get("PATH", "").split(os.pathsep)
    for folder in folders:
        if all(os.access(os.path.join(folder, name), os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise Unavailable("no PostgreSQL server found (Debian: postgresql)")


def server_user():
    """Whom the server runs as: (keyword arguments for Popen, uid, gid); nothing special unless we are root."""
    if os.geteuid() != 0:
        return {}, None, None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}, entry.pw_uid, entry.pw_gid
    raise Unavailable("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def default_folder():
    return os.path.join(tempfile.gettempdir(), f"polder-demo-pg-{os.geteuid()}")


class Server:
    """A server with its data in `folder`. Made there at the first start."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")

    def url(self, database="postgres"):
        with open(os.path.join(self.folder, "password"), encoding="ascii") as f:
            password = f.read().strip()
        return f"postgres://polder:{password}@127.0.0.1:{self.setting('port')}/{database}"

    def setting(self, name):
        with open(os.path.join(self.data, "postgresql.auto.conf"), encoding="utf-8") as f:
            found = re.search(rf"^{name} = '?([^'\n]*)", f.read(), re.MULTILINE)
        return found.group(1) if found else None

    def pid(self):
        """The server's process, where one runs."""
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as f:
                pid = int(f.readline())
            os.kill(pid, 0)
            return pid
        except (OSError, ValueError):
            return None

    def initialise(self, programs):
        as_user, uid, gid = server_user()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder, mode=0o700)
        password = os.path.join(self.folder, "password")
        with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
            f.write(secrets.token_hex(16) + "\n")
        if uid is not None:
            for path in (self.folder, password):
                os.chown(path, uid, gid)
        command = [os.path.join(programs, "initdb"), "-D", self.data, "-U", "polder", "-A", "scram-sha-256"]
        command += [f"--pwfile={password}", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, **as_user)
        if done.returncode != 0:
            raise Unavailable(f"initdb failed: {(done.stderr or done.stdout).strip()}")
        settings = dict(SETTINGS, port=free_port(), unix_socket_directories=self.folder)
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w", encoding="utf-8") as f:
            f.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self):
        if self.pid():
            return self
        programs = find()
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            self.initialise(programs)
        as_user, _, _ = server_user()
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [os.path.join(programs, "postgres"), "-D", self.data],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **as_user)
        self.await_ready(process)
        return self

    def await_ready(self, process, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError), open(os.path.join(self.data, "postmaster.pid"), encoding="ascii") as f:
                lines = f.read().split("\n")
                if len(lines) > 7 and lines[7].strip() == "ready":
                    return
            if process.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log, encoding="utf-8", errors="replace") as f:
            raise Unavailable("PostgreSQL does not start: " + f.read()[-500:].strip())

    def stop(self):
        pid = self.pid()
        if pid is None:
            return
        # SIGINT is PostgreSQL's fast shutdown: sessions are ended, the data is closed properly.
        os.kill(pid, signal.SIGINT)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.pid():
            # Reap it where it is our own child.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)


@contextlib.contextmanager
def private_server():
    """A fresh server that is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="polder-pg-")
    server = Server(os.path.join(folder, "server"))
    os.chmod(folder, 0o755)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def run(command):
    try:
        with private_server() as server:
            return subprocess.call(command, env=dict(os.environ, POLDER_TEST_PG=server.url()))
    except Unavailable as why:
        print(f"PostgreSQL: {why}; tests that need it are left out", file=sys.stderr)
        return subprocess.call(command)


def main(arguments):
    match arguments:
        case ["run", "--", *command] if command:
            return run(command)
        case ["start", *folder] if len(folder) <= 1:
            print(Server((folder or [default_folder()])[0]).start().url())
        case ["stop", *folder] if len(folder) <= 1:
            Server((folder or [default_folder()])[0]).stop()
        case ["find"]:
            print(find())
        case _:
            print(__doc__.strip(), file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Unavailable as why:
        print(why, file=sys.stderr)
        sys.exit(3)
