"""Parts of the root of queries, one module for each topic."""
