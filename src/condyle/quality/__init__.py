"""How far to trust a label map whose truth is not known."""
