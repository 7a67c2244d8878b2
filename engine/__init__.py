"""Executes runs, independently of GraphQL.

The run table and the step journal are authoritative; wake-ups are only hints. A worker claims a run, executes it step
by step from its journal, and fences every write with the lease token of its claim (`db.runs.step_journal`).
"""
