#!/bin/sh
# All tests. POLDER_TEST_PG names a PostgreSQL server where there is one (`make test` starts one).
set -eu
cd "$(dirname "$0")/.."
cargo test --locked --workspace "$@"
cargo build --locked -p polder
python=$(sh tools/setup.sh --python)
if [ -x "$python" ]; then
    "$python" tools/interop.py
else
    echo "interop: no Python with PyIceberg and DuckDB: left out" >&2
fi
