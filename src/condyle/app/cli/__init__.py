"""The command line: a file a verb; the only place that knows flags and exit codes."""
