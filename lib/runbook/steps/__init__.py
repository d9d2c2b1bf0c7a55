"""Steps: pure functions from sources and plain arguments to a Finding. No plots, prints, clock or globals.

A step's docstring begins "<Subject>: <what it says>."; the subject is the finding's title where there
is no answer. Sources and window are parameters with their own names, filled in by the session.
"""
