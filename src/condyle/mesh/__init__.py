"""Labels to surfaces: closed triangle meshes in the scan's world space, RAS+ millimetres."""

from condyle.mesh.files import FORMATS, SPACES, write
from condyle.mesh.triangles import Mesh
from condyle.mesh.voxels import surface, surfaces

__all__ = ["FORMATS", "SPACES", "Mesh", "surface", "surfaces", "write"]
