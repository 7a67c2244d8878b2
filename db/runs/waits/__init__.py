"""The waits of runs: input requests, and the queues of slots and workers."""
