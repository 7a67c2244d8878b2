"""The tables of runs: steps, events, logs, files, input requests and counts."""
