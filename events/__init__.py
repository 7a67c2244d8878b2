"""From event rows to subscribers: what was missed first, then what happens."""
