"""NRRD and MetaImage, and the segments that 3D Slicer keeps in them."""
