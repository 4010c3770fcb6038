"""What is measured of engines and how it is written down: workloads, load, raw timings, figures, comparisons."""
