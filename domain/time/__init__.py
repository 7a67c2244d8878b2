"""Time: the clock, cron expressions and buckets of time series."""
