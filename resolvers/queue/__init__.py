"""Views of the workers and of the queue."""
