"""Notifies people of events of runs: the relay counts events for alerts, the notifier sends messages."""
