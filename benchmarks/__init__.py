"""What `make bench` runs: each figure a ratio against its baseline, measured in the same run on the same machine."""
