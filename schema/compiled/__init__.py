"""Compiled reads: queries of declared fields, answered with JSON text that the database writes. The entrance is
`reads`."""
