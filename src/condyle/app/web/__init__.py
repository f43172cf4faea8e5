"""The page: what `condyle serve` shows in a browser of this machine."""
