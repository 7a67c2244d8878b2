"""Every SQL statement of the service, and nothing else.

The functions here are plain functions of a connection (`def page(conn, …) -> rows`). Where and in which transaction
they run is decided by `session.Database`: `await database.read(runs.page, …)`, `await database.write(runs.insert, …)`.
"""
