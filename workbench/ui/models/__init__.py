"""What the pages show: frozen snapshots, and how they are read in the background."""
