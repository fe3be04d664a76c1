"""Benchmarks of fasthttpserver beside its peers; README.md says how to run and read them."""
