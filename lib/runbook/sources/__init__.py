"""The only modules that talk to PostgreSQL, Prometheus, Kubernetes and Alertmanager.

Every call passes `evidence`; every vendor error becomes a SourceError; raw JSON stops here.
"""
