"""Parts of the root of queries, each about one subject."""
