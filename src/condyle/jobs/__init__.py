"""What happens while a verb runs: progress, warnings, cancelling, outputs, and where it runs."""
