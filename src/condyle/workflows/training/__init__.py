"""A data set into a trained segmenter."""
