#!/bin/sh
# All tests. POLDER_TEST_PG names a PostgreSQL server, POLDER_TEST_S3 and POLDER_TEST_VERSITYGW name S3 servers, where
# there are some (`make test` starts them). What could not be tested
# here is told at the end: a test that finds nothing to work with passes, and of those nothing is shown.
set -eu
cd "$(dirname "$0")/.."
POLDER_TEST_SKIPPED=$(mktemp)
export POLDER_TEST_SKIPPED
tell_skipped() {
    if [ -s "$POLDER_TEST_SKIPPED" ]; then
        echo "SKIPPED, so that this was not tested:" >&2
        sort -u "$POLDER_TEST_SKIPPED" | sed 's/^/  /' >&2
    fi
    rm -f "$POLDER_TEST_SKIPPED"
}
trap tell_skipped EXIT
cargo test --locked --workspace "$@"
cargo build --locked -p polder
python=$(sh tools/setup.sh --python)
if [ -x "$python" ]; then
    "$python" tools/interop.py
else
    echo "interop: no Python with PyIceberg and DuckDB" >>"$POLDER_TEST_SKIPPED"
fi
