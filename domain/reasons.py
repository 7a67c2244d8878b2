"""Reasons of failed connections in words, for logs and for people: libraries wrap the errors that know them."""

import ssl

from domain.errors import DatabaseUnavailableError, QueryTimeoutError


def of_connection(error: BaseException) -> str:
    """Returns why a connection failed: what is wrong with the certificate of the server, or what the library says."""
    root = root_of(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not valid: {root.verify_message.rstrip('.')}"
    return str(error) or type(error).__name__


def root_of(error: BaseException) -> BaseException:
    """Returns the error with which it began."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def of_database(error: DatabaseUnavailableError | QueryTimeoutError) -> str:
    """Returns why the database is unavailable, or that a read took too long, for the log: what the driver says. Clients
    get the message alone."""
    cause = error.__cause__
    if cause is None or error.message != DatabaseUnavailableError().message:
        return error.message
    cause = getattr(cause, "orig", None) or cause  # SQLAlchemy's own text has the statement and its values.
    return " ".join(str(cause).split()) or type(cause).__name__
