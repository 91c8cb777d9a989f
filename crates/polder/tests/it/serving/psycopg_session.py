"""What psycopg asks beyond the handbook: types both ways, prepared statements, transactions, errors, cancelling."""

import datetime as dt
import decimal
import sys
import threading
import time

import psycopg
from psycopg import errors

PORT = sys.argv[1]
ADDRESS = f"host=127.0.0.1 port={PORT} dbname=main user=ann connect_timeout=20"


def check(got, expected):
    if got != expected:
        sys.exit(f"got {got!r}, expected {expected!r}")


def refused(error, work):
    try:
        work()
    except error as e:
        return e
    sys.exit(f"{error.__name__} was expected")


VALUES = [
    True,
    7,
    70_000,
    5_000_000_000,
    0.1,
    decimal.Decimal("12345678901234567890.123456789"),
    "größe 'quoted'",
    b"\x00\xff",
    dt.date(1969, 7, 20),
    dt.datetime(2026, 1, 5, 6, 0, 0, 500),
    dt.datetime(2026, 1, 5, 6, 0, tzinfo=dt.timezone.utc),
    None,
]
CASTS = ["boolean", "int", "int", "bigint", "double", "decimal(38, 9)", "text", "bytea", "date", "timestamp",
         "timestamptz", "int"]

with psycopg.connect(ADDRESS, autocommit=True) as connection:
    check(connection.info.server_version, 150000)
    for binary in (False, True):
        columns = ", ".join(f"%s::{cast} as c{n}" for n, cast in enumerate(CASTS))
        row = connection.cursor(binary=binary).execute(f"select {columns}", VALUES).fetchone()
        check(list(row), VALUES)
        # Prepared on the server, and asked again.
        for n in range(3):
            query = "select day, revenue from gold.daily where orders > %s order by day"
            rows = connection.cursor(binary=binary).execute(query, [n + 2], prepare=True).fetchall()
            check(len(rows), 2 if n == 0 else 1)
            check(rows[-1], (dt.date(2026, 1, 6), decimal.Decimal("40.00")))
    check(connection.execute("select [1, 2, null]").fetchone()[0], [1, 2, None])
    # Lists as parameters, in text and in binary.
    for placeholder in ("%s", "%t", "%b"):
        for column, values, expected in [
            ("orders", [3, 99], [3]),
            ("orders", [3, 7, None], [3, 7]),
            ("orders", [], []),
            ("orders", [5_000_000_000, 7], [7]),
            ("cast(orders as text)", ["3", "a, \"b\" {c}\\"], [3]),
            ("day", [dt.date(2026, 1, 6)], [7]),
        ]:
            query = f"select orders from gold.daily where {column} = any({placeholder}) order by day"
            check([n for (n,) in connection.execute(query, [values]).fetchall()], expected)
    texts = ["a", "b c", 'd"e', "f\\g", "{h}", "null", "größe", None]
    for binary in (False, True):
        check(connection.cursor(binary=binary).execute("select %b::text[] as l", [texts]).fetchone(), (texts,))
    check(connection.execute("select 'a' = any(%s::text[])", [["a", "b"]]).fetchone(), (True,))
    check(connection.execute("select timestamp '2026-01-05 09:15:00' = %s", ["2026-01-05 09:15"]).fetchone(), (True,))
    check(connection.execute("select cast(%s as text[])", [["a", None]]).fetchone(), (["a", None],))
    check(connection.execute("select {'a': 1, 'b': [2, 3]}").fetchone()[0], {"a": 1, "b": [2, 3]})
    check(connection.execute("select interval '1 day 2 hours'").fetchone()[0], dt.timedelta(days=1, hours=2))
    check(connection.execute("").statusmessage, None)

    # Many rows, as they come.
    count = total = 0
    with psycopg.ClientCursor(connection) as cursor:
        for (value,) in cursor.stream("select value from generate_series(1, 200000)"):
            count, total = count + 1, total + value
    check((count, total), (200_000, 200_000 * 200_001 // 2))

    e = refused(errors.UndefinedTable, lambda: connection.execute("select 1 from gold.dayly"))
    check("did you mean `gold.daily`?" in e.diag.message_hint, True)
    refused(errors.UndefinedColumn, lambda: connection.execute("select revenu from gold.daily"))
    refused(errors.SyntaxError, lambda: connection.execute("selec 1"))
    refused(errors.ReadOnlySqlTransaction, lambda: connection.execute("delete from gold.daily"))
    refused(errors.InvalidTextRepresentation,
            lambda: connection.execute("select day from gold.daily where orders > %s", ["many"]))
    connection.execute("set statement_timeout = '300ms'")
    slow = ("select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b "
            "where a.value % 11 <> b.value % 13")
    refused(psycopg.Error, lambda: connection.execute(slow))
    connection.execute("reset statement_timeout")

    # Cancelled from another thread.
    def cancel():
        time.sleep(0.5)
        connection.cancel_safe(timeout=20)

    thread = threading.Thread(target=cancel)
    thread.start()
    begun = time.monotonic()
    refused(errors.QueryCanceled, lambda: connection.execute(slow))
    thread.join()
    check(time.monotonic() - begun < 15, True)
    check(connection.execute("select 1").fetchone(), (1,))

with psycopg.connect(ADDRESS) as connection:
    check(connection.execute("select current_user()").fetchone(), ("ann",))
    refused(errors.UndefinedTable, lambda: connection.execute("select 1 from nothing"))
    refused(errors.InFailedSqlTransaction, lambda: connection.execute("select 1"))
    connection.rollback()
    check(connection.execute("select 1").fetchone(), (1,))
    connection.execute("set local statement_timeout = '1h'")
    connection.execute("set application_name = 'gone'")
    check(connection.execute("show statement_timeout").fetchone(), ("1h",))
    connection.rollback()
    check(connection.execute("show statement_timeout").fetchone(), ("0",))
    check(connection.info.parameter_status("application_name"), "")
    connection.commit()
    with connection.pipeline():
        first, second = connection.execute("select 1"), connection.execute("select 2")
        check((first.fetchone(), second.fetchone()), ((1,), (2,)))

refused(psycopg.OperationalError, lambda: psycopg.connect(ADDRESS.replace("main", "nothing")))
print("all as it should be")
