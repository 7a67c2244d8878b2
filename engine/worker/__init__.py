"""The services of a worker process: claiming runs, firing schedules, bulk operations and maintenance."""
