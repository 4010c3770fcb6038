"""The test of the built package, run by packaging/test_package.sh: plain Python, since nothing else need be there."""
