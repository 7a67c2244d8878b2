"""The opt-in search of inputs, outputs and logs: its tables, its switch, and how it is filled."""
