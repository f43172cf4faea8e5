"""What computes a network: PyTorch or OpenVINO, and which of the two is chosen."""
