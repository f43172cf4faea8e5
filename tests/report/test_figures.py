from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from condyle.core import LOWER_LIMB, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import GridMismatch
from condyle.report import figures
from condyle.report.render import MOST_FACES, VIEWS, Painted, bounds, draw, simpler


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return imread(BytesIO(png))


def distance(centre, shape=(40, 36, 30)):
    index = np.indices(shape).transpose(1, 2, 3, 0)
    return np.linalg.norm((index - centre) * (2.0, 2.0, 3.0), axis=-1)


def ball(centre, radius):
    return distance(centre) < radius


def leg():
    """A femur on the patient's left, a smaller tibia on the right and below."""
    grid = Grid.regular((40, 36, 30), spacing=(2, 2, 3), origin=(-40, -30, 100))
    labels = np.zeros(grid.shape, np.uint8)
    labels[ball((10, 16, 20), 18)] = 2
    labels[ball((28, 20, 8), 12)] = 1
    rng = np.random.default_rng(0)
    scan = (labels > 0) * 600 + rng.normal(0, 20, grid.shape) - 100
    return Volume(scan.astype(np.int16), grid, "CT"), LabelMap(labels, grid, LOWER_LIMB)


def mesh(centre, radius, colour=(230, 159, 0), name="femur"):
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(distance((20, 18, 15)), radius)
    return SimpleNamespace(
        vertices=vertices * (2, 2, 3) + centre, faces=faces, colour=colour, name=name
    )


def test_overlay_does_not_depend_on_the_order_of_voxels_on_disk():
    volume, truth = leg()
    predicted = truth.with_array(np.roll(truth.array, 1, axis=0))
    straight = pixels(figures.overlay(volume, truth, predicted))
    for orientation in ("LPS", "PIR", "SAL"):
        turned = [x.reoriented(orientation) for x in (volume, truth, predicted)]
        assert np.array_equal(pixels(figures.overlay(*turned)), straight), orientation


def test_overlay_shows_the_left_of_the_patient_on_the_right_and_the_head_up():
    volume, truth = leg()  # low i is the patient's left: RAS counts towards the right
    picture = pixels(figures.overlay(volume, None, truth, planes=("coronal",)))[..., :3]
    rows, columns = np.nonzero(picture[..., 2] - picture[..., 0] > 0.2)  # femur: sky blue
    inside = rows < 0.85 * len(picture)  # not the legend
    assert columns[inside].mean() > picture.shape[1] / 2
    assert rows[inside].mean() < picture.shape[0] / 2


def test_overlay_keeps_millimetres_square():
    grid = Grid.regular((60, 60, 12), spacing=(1, 1, 5))
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:50, 10:50, 2:10] = 2  # 40 mm on every side
    truth = LabelMap(labels, grid, LOWER_LIMB)
    blank = Volume(np.zeros(grid.shape), grid, "MR")
    picture = pixels(figures.overlay(blank, None, truth, planes=("coronal",)))[..., :3]
    blue = picture[..., 2] - picture[..., 0] > 0.2
    blue[int(0.85 * len(picture)) :] = False
    height, width = np.ptp(np.flatnonzero(blue.any(1))), np.ptp(np.flatnonzero(blue.any(0)))
    assert height == pytest.approx(width, rel=0.03)


def test_a_bar_of_so_many_centimetres_has_their_length_in_every_panel():
    scan = Volume(np.zeros((60, 90, 120)), Grid.regular((60, 90, 120), (1, 1, 2)), "MR")
    picture = figures.overlay_pixels(scan, None, None, ("coronal",), width=600)
    rows = (picture > 200).all(axis=2)[:, picture.shape[1] // 2 + 10 :].sum(axis=1)
    longest = rows[int(0.6 * len(rows)) :].max()  # of white pixels: the bar, at the lower right
    high = 500  # pixels, of 240 mm
    assert longest == pytest.approx(20 / 240 * high, abs=2)
    assert "2 cm" in {text.get_text() for text in texts(figures.overlay_pixels, scan, None, None)}


def texts(draw, *given):
    """All that a picture's figure says."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("condyle.report.overlay.drawn", drawn.append)
        draw(*given)
    return drawn[0].findobj(Text)


def test_every_slice_says_its_number_and_its_place_however_the_file_lies():
    volume, truth = leg()
    for orientation in ("RAS", "LPS", "PIR"):
        turned = [x.reoriented(orientation) for x in (volume, truth)]
        said = {text.get_text() for text in texts(figures.overlay_pixels, *turned, None)}
        assert {"axial 20 (0 to 29), S 160.0 mm", "coronal 18 (0 to 35), A 6.0 mm",
                "sagittal 8 (0 to 39), L 24.0 mm"} <= said  # fmt: skip


def test_the_legend_names_every_structure_that_is_seen_and_no_other():
    volume, truth = leg()
    array = np.zeros_like(truth.array)
    for n in range(20):
        array[:, n : n + 1] = n + 1
    many = LabelMap(array, truth.grid, LabelScheme.of({f"rib_{n}": n for n in range(1, 31)}))
    said = {text.get_text() for text in texts(figures.overlay_pixels, volume, many, None)}
    assert {f"rib {n}" for n in range(1, 21)} <= said
    assert "rib 21" not in said


def test_overlay_refuses_labels_of_another_grid():
    volume, truth = leg()
    moved = Grid.regular(truth.grid.shape, spacing=(2, 2, 3))
    with pytest.raises(GridMismatch, match="picture"):
        figures.overlay(volume, LabelMap(truth.array, moved, LOWER_LIMB), None)


def test_overlay_of_nothing_and_of_strange_numbers_is_still_a_picture():
    volume, truth = leg()
    empty = truth.with_array(np.zeros_like(truth.array))
    holes = Volume(np.full(volume.grid.shape, np.nan), volume.grid)
    for png in (figures.overlay(volume, None, None), figures.overlay(holes, empty, empty)):
        assert min(pixels(png).shape[:2]) > 100


def test_overlay_of_a_real_scan_is_small_enough_for_a_page(shared):
    import nibabel as nib

    folder = shared / "totalsegmentator_reference"
    scan = nib.load(folder / "example_ct.nii.gz")
    found = np.asarray(nib.load(folder / "example_seg_fast_force_split.nii.gz").dataobj)
    grid = Grid(scan.shape, scan.affine)
    hips = LabelMap(np.isin(found, (77, 78)).astype(np.uint8) * 4, grid, LOWER_LIMB)
    png = figures.overlay(Volume(np.asarray(scan.dataobj), grid), hips, hips)
    assert 20_000 < len(png) < 800_000
    assert pixels(png).shape[1] <= 1200


def test_surfaces_stand_where_they_are_in_the_body():
    right = mesh((60, 0, 0), 10, (255, 0, 0), "right")  # RAS: x grows to the right
    left = mesh((0, 0, 0), 10, (0, 0, 255), "left")
    seen = draw([right, left], VIEWS["front"], bounds([right, left]), 4.0).astype(int)
    red = np.nonzero(seen[..., 0] > seen[..., 2] + 80)[1]
    blue = np.nonzero(seen[..., 2] > seen[..., 0] + 80)[1]
    assert red.max() < blue.min()


def test_the_nearer_surface_hides_the_farther():
    near, far = mesh((0, 60, 0), 22, (0, 0, 255), "near"), mesh((0, 0, 0), 12, (255, 0, 0), "far")
    for order in ([near, far], [far, near]):
        seen = draw(order, VIEWS["front"], bounds(order), 4.0)
        assert not ((seen[..., 0] > 200) & (seen[..., 2] < 100)).any()


def test_a_drawn_ball_is_round_whole_and_lit_whichever_way_its_faces_wind():
    one = mesh((0, 0, 0), 16)
    other = SimpleNamespace(**{**vars(one), "faces": one.faces[:, ::-1]})
    pictures = [draw([m], VIEWS["front"], bounds([one]), 6.0) for m in (one, other)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 0.2
    solid = pictures[0][..., 3] > 127
    assert solid.mean() == pytest.approx(np.pi / 4, abs=0.02)
    brightness = pictures[0][solid][:, :3].sum(axis=1)
    assert brightness.max() > 2 * brightness.min()


def test_surfaces_of_many_faces_are_simplified_and_none_are_no_error():
    one = mesh((0, 0, 0), 16)
    assert simpler(one.vertices, one.faces)[1].shape == one.faces.shape
    grid = np.stack(np.meshgrid(np.arange(200.0), np.arange(200.0), [0.0]), -1).reshape(-1, 3)
    first = np.arange(199 * 200).reshape(199, 200)[:, :-1].ravel()
    faces = np.stack([first, first + 1, first + 200], 1)
    faces = np.concatenate([faces, np.stack([first + 1, first + 201, first + 200], 1)])
    assert len(faces) > MOST_FACES
    assert len(simpler(grid, faces)[1]) <= MOST_FACES
    assert min(pixels(figures.distances([], [])).shape[:2]) > 50


def test_overlay_shows_nothing_where_nobody_labelled():
    volume, truth = leg()
    marked = truth.array.copy()
    marked[:3, -3:] = 9
    scheme = LabelScheme.of({**LOWER_LIMB.to_dict(), "ignore": 9})
    partly = LabelMap(marked, volume.grid, scheme)
    assert figures.overlay(volume, partly, None) == figures.overlay(volume, truth, None)


def share_of(picture, colour):
    """The part of what is drawn in the right half of the left views that leans to a colour."""
    panel = picture[60 : int(0.8 * len(picture)), int(0.25 * picture.shape[1]) :][..., :3]
    panel = panel[:, : panel.shape[1] // 3].astype(float)
    red, blue = panel[..., 0] - panel[..., 2] > 0.15, panel[..., 2] - panel[..., 0] > 0.15
    return {"red": red, "blue": blue}[colour].mean()


def test_distances_are_red_outside_the_truth_blue_inside_and_grey_on_it():
    truth = mesh((0, 0, 0), 14)
    for radius, red, blue in ((17, True, False), (11, False, True), (14, False, False)):
        picture = pixels(figures.distances([mesh((0, 0, 0), radius)], [truth]))
        assert (share_of(picture, "red") > 0.2) == red, radius
        assert (share_of(picture, "blue") > 0.2) == blue, radius


def test_distances_do_not_depend_on_how_the_truth_is_cut_into_triangles():
    truth, one = mesh((0, 0, 0), 14), mesh((1, 0, 0), 15)
    order = np.random.default_rng(0).permutation(len(truth.faces))
    other = SimpleNamespace(**{**vars(truth), "faces": np.roll(truth.faces[order], 1, axis=1)})
    pictures = [pixels(figures.distances([one], [t])).astype(float) for t in (truth, other)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 1e-3


def test_what_was_invented_or_missed_is_shown_and_nothing_is_no_error():
    truth, one = mesh((0, 0, 0), 14), mesh((0, 0, 0), 12)
    invented = mesh((60, 0, 0), 9, name="$patella_")
    both = pixels(figures.distances([one, invented], [truth]))
    violet = np.abs(both[..., :3] - np.array([148, 103, 189]) / 255).max(axis=2) < 0.06
    assert violet.sum() > 50
    assert pixels(figures.distances([], [truth])).shape[1] >= 480
    assert pixels(figures.distances([], [])).shape[1] >= 480


def test_colours_at_the_vertices_are_drawn_where_they_are():
    ball = mesh((0, 0, 0), 14)
    left = ball.vertices[:, 0] < ball.vertices[:, 0].mean()  # RAS: towards the patient's left
    paint = np.where(left[:, None], [255.0, 0, 0], [0.0, 0, 255])
    painted = Painted(ball.vertices, ball.faces, ball.colour, ball.name, paint)
    seen = draw([painted], VIEWS["front"], bounds([ball]), 6.0).astype(int)
    red = np.nonzero(seen[..., 0] > seen[..., 2] + 80)[1]
    blue = np.nonzero(seen[..., 2] > seen[..., 0] + 80)[1]
    assert blue.mean() < seen.shape[1] / 2 < red.mean()
