#!/bin/sh
# Gets what the tests need and the machine lacks: a PostgreSQL server (Debian's package), and PyIceberg, DuckDB, PyArrow and
# moto, an S3 server (from PyPI, into a virtual environment outside of the checkout). Quick when all is there; what it may
# not or cannot install is said, and the tests that need it are left out.
#
#   tools/setup.sh            install what is missing
#   tools/setup.sh --server   only the PostgreSQL server, which is all that the demo needs
#   tools/setup.sh --python   print the Python of the virtual environment, and install nothing
#
# POLDER_NO_INSTALL=1 forbids installing anything. POLDER_VENV names another place for the virtual environment.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=${POLDER_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/polder/venv}
may_install=true
[ -n "${POLDER_NO_INSTALL:-}" ] && may_install=false
missing=""

say() { printf '%s\n' "$*" >&2; }
lacks() { missing="$missing
  - $1"; }

if [ "${1:-}" = --python ]; then
    printf '%s\n' "$venv/bin/python"
    exit 0
fi

# Runs a command as root: directly, or by sudo where that asks for no password.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

debian_install() {
    $may_install && command -v apt-get >/dev/null || return 1
    say "setup: installing $* (Debian)"
    log=$(mktemp)
    if as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1 ||
        { as_root apt-get update >"$log" 2>&1 &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; }; then
        rm -f "$log"
    else
        tail -n 3 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

if ! command -v python3 >/dev/null || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    debian_install python3 python3-venv || { say "setup: Python 3.10 or later is needed (Debian: python3)"; exit 3; }
fi

python3 "$here/pg.py" find >/dev/null 2>&1 || debian_install postgresql ||
    lacks "a PostgreSQL server (Debian: postgresql): what needs one is left out"

command -v curl >/dev/null || debian_install curl || lacks "curl: what needs it is left out"

finish() {
    [ -z "$missing" ] || say "setup: not there, and not installed:$missing"
    exit 0
}

[ "${1:-}" = --server ] && finish

wanted=$(cksum <"$here/requirements.txt")
if [ "$(cat "$venv/.polder" 2>/dev/null || true)" != "$wanted" ]; then
    if $may_install; then
        say "setup: installing $(grep -v '^#' "$here/requirements.txt" | tr '\n' ' ')into $venv"
        log=$(mktemp)
        make_venv() {
            mkdir -p "$(dirname "$venv")"
            if command -v uv >/dev/null; then
                uv venv --clear --quiet "$venv" && uv pip install --quiet --python "$venv/bin/python" -r "$here/requirements.txt"
            else
                { python3 -m venv --clear "$venv" || { debian_install python3-venv && python3 -m venv --clear "$venv"; }; } &&
                    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
            fi
        }
        if make_venv >"$log" 2>&1; then
            printf '%s\n' "$wanted" >"$venv/.polder"
        else
            tail -n 3 "$log" >&2
        fi
        rm -f "$log"
    fi
    [ "$(cat "$venv/.polder" 2>/dev/null || true)" = "$wanted" ] ||
        lacks "PyIceberg, DuckDB, PyArrow and moto (PyPI: see tools/requirements.txt): the tests with other readers and with S3 are left out"
fi

finish
