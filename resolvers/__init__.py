"""The logic behind the fields: functions return rows or raise the errors of domain/errors.py."""
