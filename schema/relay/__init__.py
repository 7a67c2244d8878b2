"""The parts of the Relay specification: connections and nodes."""
