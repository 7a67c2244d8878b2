"""What the service sends to other systems."""
