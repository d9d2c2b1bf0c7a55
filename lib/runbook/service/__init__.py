"""The service: webhook, pages, workers and messages around the runner."""
