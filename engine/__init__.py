"""Executes runs. Independent of GraphQL.

The run table and the journal of steps are the truth; wake-ups are only hints. A worker claims a run, executes it step
by step from its journal, and fences every write with the lease token of its claim (`db.runs.step_journal`).
"""
