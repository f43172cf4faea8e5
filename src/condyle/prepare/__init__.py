"""From a scan to what a network sees: cropping, resampling, intensities, slices, splits, checks."""
