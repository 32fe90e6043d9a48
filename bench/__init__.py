"""Benchmarks: ratios that hold on any machine."""
