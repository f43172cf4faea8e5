"""The verbs, end to end: what the command line and the page call. A verb a file."""
