"""What the service sends to other systems: endpoints, deliveries, alerts."""
