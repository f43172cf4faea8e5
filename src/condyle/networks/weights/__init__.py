"""Weights: where they are found, how they are read, and what their tensors are called."""
