"""What several domains share: names of the fleet, levels and trends of series, log patterns, quotas, verdict parts."""
