"""Rate limits: what the operations of an API key may cost in a minute."""
