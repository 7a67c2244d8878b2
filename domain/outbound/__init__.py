"""What the service sends to other systems: deliveries of events to endpoints, and notifications of alerts."""
