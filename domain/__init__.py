"""What the product speaks of: statuses, the flow language, IDs, errors.

Pure: no I/O, and nothing of ours is imported.
"""
