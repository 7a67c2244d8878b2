"""Every SQL statement of the service, and nothing else.

The functions here are plain functions of a connection (`def page(conn, …) -> rows`) or of a unit of work.
`core.database.Database` runs them in a transaction: `await database.read(runs.page, …)`, `await
database.write(runs.insert, …)`.
"""
