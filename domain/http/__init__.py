"""What HTTP messages carry: bodies as they are sent, and signatures."""
