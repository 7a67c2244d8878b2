"""The benchmarks behind the measured claims."""
