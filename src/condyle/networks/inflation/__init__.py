"""2D networks turned into 3D ones, weights included."""
