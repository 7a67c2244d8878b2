"""What removes runs or their payloads."""
