"""Load generator and workloads. No Qt."""
