"""Sends events of runs to endpoints: the relay turns the event log into deliveries, the deliverer sends them."""
