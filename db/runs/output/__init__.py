"""The log lines and files of runs."""
