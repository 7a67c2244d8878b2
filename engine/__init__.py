"""Executes runs. Knows nothing of GraphQL.

`flow_run` and its journal are what happened; whatever tells a worker to look at a run is a hint. A run is claimed,
carried on from its journal step by step, and every write shows the token of the claim (db/journal.py).
"""
