"""Pictures of pixels: read as they are seen, written as programs expect, and never in mm."""

import numpy as np
import pytest
from PIL import Image

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.core.labels import Label
from condyle.errors import ConfigError, GeometryError, GridMismatch, LabelError, UnreadableFile
from condyle.io import find_scans, read, read_channels, read_labels, write
from condyle.io.scans import write_channels
from condyle.jobs.job import Job

SCHEME = LabelScheme.of({"lesion": 1, "duct": 2})


def grey(rows=6, columns=9, kind=np.uint8):
    return (np.arange(rows * columns).reshape(rows, columns) * 3).astype(kind)


def warnings_of(work):
    job = Job()
    with job.active():
        work()
    return [warned.sentence for warned in job.warnings]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_grey_picture_is_a_slice_of_columns_and_rows_in_pixels(tmp_path, name, kind):
    Image.fromarray(grey(kind=kind)).save(tmp_path / name)
    scan = read(tmp_path / name)
    assert scan.shape == (9, 6, 1)
    assert scan.array.dtype == kind
    assert scan.array[7, 2, 0] == grey()[2, 7]
    assert (scan.grid.unit, scan.spacing) == ("px", (1.0, 1.0, 1.0))


def test_a_picture_in_colour_has_three_channels(tmp_path):
    pixels = np.stack([grey(), grey() + 1, grey() + 2], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    red, green, blue = read_channels([tmp_path / "a.png"])
    assert (red.array[3, 4, 0], green.array[3, 4, 0], blue.array[3, 4, 0]) == tuple(pixels[4, 3])
    assert read(tmp_path / "a.png", volume=2).array[3, 4, 0] == pixels[4, 3, 2]
    with pytest.raises(UnreadableFile, match="choose red, green or blue"):
        read(tmp_path / "a.png")


def test_a_jpeg_is_turned_upright_as_its_note_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    wide = np.zeros((16, 32), np.uint8)
    wide[:, :16] = 250  # bright at the left: at the top, once it is turned
    Image.fromarray(wide).save(tmp_path / "a.jpg", exif=exif)
    scan = read(tmp_path / "a.jpg")
    assert scan.shape == (16, 32, 1)
    assert scan.array[:, :14].mean() > 240 > 10 > scan.array[:, 18:].mean()


def test_transparency_is_said_and_one_bit_pictures_are_read(tmp_path):
    pixels = np.dstack([grey()] * 3 + [np.full_like(grey(), 128)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [said] = warnings_of(lambda: read_channels([tmp_path / "a.png"]))
    assert "transparent" in said
    Image.fromarray(grey() > 60).save(tmp_path / "b.png")
    assert set(np.unique(read(tmp_path / "b.png").array)) == {0, 1}


def test_pages_and_damaged_files_are_refused(tmp_path):
    pages = [Image.fromarray(grey()) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UnreadableFile, match="holds 3 pages: export each"):
        read(tmp_path / "a.tif")
    whole = np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)
    Image.fromarray(whole).save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:3000])
    with pytest.raises(UnreadableFile, match=r"b\.png"):
        read(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no picture at all")
    with pytest.raises(UnreadableFile, match="not a PNG, JPEG or TIFF picture"):
        read(tmp_path / "c.png")


def test_masks_are_numbers_palettes_black_and_white_or_colours(tmp_path):
    numbers = np.zeros((6, 9), np.uint8)
    numbers[1:3, 2:5], numbers[4, 4] = 1, 2
    kept = np.swapaxes(numbers, 0, 1)[:, :, None]
    plain, palette = Image.fromarray(numbers), Image.fromarray(numbers)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, *[0] * 759])
    for picture in (plain, palette):
        picture.save(tmp_path / "a.png")
        assert np.array_equal(read_labels(tmp_path / "a.png").array, kept)
    Image.fromarray((numbers > 0).astype(np.uint8) * 255).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png").array, kept > 0)
    own = LabelScheme((Label(1, "lesion", (255, 0, 0)), Label(2, "duct", (0, 200, 10))))
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 200, 10)], np.uint8)
    Image.fromarray(colours[numbers]).save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png", own).array, kept)
    with pytest.raises(LabelError, match="no structure has its colour 255, 0, 0"):
        read_labels(tmp_path / "a.png", SCHEME)


def test_a_jpeg_is_a_mask_only_if_it_is_black_and_white(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 20:50] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=70)
    assert np.array_equal(read_labels(tmp_path / "a.jpg").array[:, :, 0].T, mask > 0)
    Image.fromarray(mask // 2 + 60).save(tmp_path / "b.jpg")
    with pytest.raises(LabelError, match="save masks as PNG"):
        read_labels(tmp_path / "b.jpg")


def test_labels_are_written_with_their_colours_and_names(tmp_path):
    grid = Grid.of_picture(9, 6)
    array = np.zeros(grid.shape, np.uint16)
    array[2:5, 1:3], array[7, 5] = 1, 2
    write(LabelMap(array, grid, SCHEME), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(picture, array[:, :, 0].T)
        assert picture.convert("RGB").getpixel((7, 5)) == SCHEME["duct"].colour
    back = read_labels(tmp_path / "a.png")
    assert (back.scheme, back.grid.unit) == (SCHEME, "px")
    assert np.array_equal(back.array, array)
    write(LabelMap.of(array, grid), tmp_path / "b.png")  # for nnU-Net, which reads no palette
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.mode == "L"


def test_channels_are_written_into_one_file(tmp_path):
    grid = Grid.of_picture(9, 6)
    channels = [Volume(np.full(grid.shape, n, np.uint8), grid) for n in (10, 20, 30)]
    write_channels(channels, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert (picture.mode, picture.size, picture.getpixel((8, 5))) == (
            "RGB",
            (9, 6),
            (10, 20, 30),
        )
    with pytest.raises(ConfigError, match="three of 8 bits"):
        write_channels(channels[:2], tmp_path / "b.png")


def test_pictures_and_millimetres_are_never_mixed(tmp_path):
    grid = Grid.of_picture(9, 6)
    labels = LabelMap(np.ones(grid.shape, np.uint8), grid, SCHEME)
    in_mm = Grid(grid.shape, grid.affine)
    with pytest.raises(GridMismatch, match="one is a picture, the other has millimetres"):
        grid.require_same(in_mm, "scan and labels")
    with pytest.raises(ConfigError, match=r"end it in \.png"):
        write(labels, tmp_path / "a.nii.gz")
    with pytest.raises(ConfigError, match="a PNG has no millimetres"):
        write(LabelMap(labels.array, in_mm, SCHEME), tmp_path / "a.png")
    with pytest.raises(GeometryError, match="a volume needs a scan with millimetres"):
        labels.volumes()
    assert labels.areas() == {"lesion": 54, "duct": 0}
    turned = grid.turned(grid.turn_to("RAS")).cropped((0, 0, 0), (2, 2, 1)).resized((4, 4, 1))
    assert turned.unit == "px"


def test_pictures_are_scans_only_where_there_are_no_others(tmp_path):
    Image.fromarray(grey()).save(tmp_path / "leg.png")
    assert find_scans(tmp_path) == [tmp_path / "leg.png"]
    write(Volume(np.zeros((3, 3, 3)), Grid.regular((3, 3, 3))), tmp_path / "leg.nii.gz")
    assert find_scans(tmp_path) == [tmp_path / "leg.nii.gz"]
