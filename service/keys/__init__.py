"""The keys of a process: those that encrypt secrets, those that sign access tokens, and the files that hold them."""
