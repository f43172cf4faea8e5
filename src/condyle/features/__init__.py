"""How alike the regions of a scan look to a network: deep features, and their similarity."""
