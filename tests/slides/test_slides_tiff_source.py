"""What a TIFF says of itself where OpenSlide does not: sizes, pixel size, power, images beside."""

import json
import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

import made_tiffs
from napari_camelyon.errors import SlideError
from napari_camelyon.slides import describe, is_slide, open_slide
from napari_camelyon.slides.ome_xml import OmeXmlError, read_ome_xml
from napari_camelyon.slides.open_file import OpenFile
from napari_camelyon.slides.openslide_backend import OpenSlideBackend
from napari_camelyon.slides.tiff_directories import read_directories
from napari_camelyon.slides.tiff_pixels import tiff_pixels
from napari_camelyon.slides.tiff_source import TiffSource, find_images
from napari_camelyon.slides.tile_cache import TileCache

OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{}>{}</OME>'
)
PIXELS = '<Image ID="Image:0"><Pixels SizeX="9" SizeY="9" SizeC="3" {}>{}</Pixels></Image>'


@pytest.fixture(scope="module")
def pixels():
    return made_tiffs.tissue()


@pytest.fixture(scope="module")
def ome_slide(tmp_path_factory, pixels):
    path = tmp_path_factory.mktemp("ome") / "node.ome.tiff"
    beside = {"Label image": pixels[:50, :60], "macro": pixels[:70, :80], "other": pixels[:20, :30]}
    return made_tiffs.ome(path, pixels, beside=beside)


class TestOme:
    def test_what_it_says(self, ome_slide, pixels):
        with open_slide(ome_slide) as slide:
            assert (slide.width_px, slide.height_px) == (420, 300)
            assert slide.vendor == "ome-tiff"
            assert slide.mpp == (0.25, 0.26)
            assert slide.mpp_note == "stated by the file"
            assert slide.tile_px == 64
            assert slide.properties["tiff.ImageDescription"].startswith("<?xml")
            assert slide.properties["openslide.level[2].width"] == "105"
            assert slide.properties["openslide.level[2].downsample"] == "4.0"
            assert len(slide.fingerprint) == 32
            facts = json.loads(json.dumps(describe(slide)))
        assert [level["width_px"] for level in facts["levels"]] == [420, 210, 105]
        # OpenSlide alone sees one level, and not its pixel size.
        alone = OpenSlideBackend(ome_slide)
        assert len(alone.levels) == 1

    def test_images_beside_the_slide(self, ome_slide, pixels):
        with open_slide(ome_slide) as slide:
            assert slide.associated_names == ("label", "macro", "other")
            np.testing.assert_array_equal(slide.associated("label"), pixels[:50, :60])
            np.testing.assert_array_equal(slide.associated("macro"), pixels[:70, :80])
            with pytest.raises(SlideError, match="portrait"):
                slide.associated("portrait")

    def test_the_largest_image_is_the_slide_wherever_it_stands(self, tmp_path, pixels):
        path = tmp_path / "late.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as writer:
            for name, image in (("macro", pixels[:64, :80]), ("slide", pixels)):
                writer.write(
                    image,
                    photometric="rgb",
                    tile=(64, 64),
                    metadata={"axes": "YXS", "Name": name, "PhysicalSizeX": 0.5},
                )
        with open_slide(path) as slide:
            assert slide.backend == "tiff"
            assert slide.associated_names == ("macro",)
            np.testing.assert_array_equal(slide.read(0, 0, 420, 300), pixels)
            np.testing.assert_array_equal(slide.associated("macro"), pixels[:64, :80])
            assert "OME" in slide.properties["tiff.ImageDescription"]

    def test_one_cache_holds_all_readers_of_a_file_apart(self, tmp_path, pixels):
        # Level 0 is another image to OpenSlide, which takes the first.
        path = tmp_path / "late.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as writer:
            for image in (255 - pixels[:192, :256], pixels):
                writer.write(image, photometric="rgb", tile=(64, 64), metadata={"axes": "YXS"})
        cache = TileCache(1 << 24)
        slow, file = OpenSlideBackend(path), OpenFile(path)
        first = tiff_pixels(read_directories(OpenFile(path)), slow.levels, cache)
        largest = TiffSource(file, find_images(read_directories(file)), cache)
        for _ in range(2):
            np.testing.assert_array_equal(
                first.read_level(0, 0, 0, 256, 192), 255 - pixels[:192, :256]
            )
            np.testing.assert_array_equal(largest.read_level(0, 0, 0, 420, 300), pixels)

    def test_pickles_and_closes(self, ome_slide, pixels):
        with open_slide(ome_slide) as slide:
            twin = pickle.loads(pickle.dumps(slide))
        with twin:
            np.testing.assert_array_equal(twin.read(0, 0, 420, 300), pixels)
        for read in (lambda: twin.read(0, 0, 9, 9), lambda: twin.associated("label")):
            with pytest.raises(SlideError, match="closed"):
                read()

    def test_openslide_is_asked_for_what_it_sees(self, ome_slide):
        with open_slide(ome_slide, backend="openslide") as slide:
            assert slide.backend == "openslide"
            assert len(slide.levels) == 1
        with open_slide(ome_slide, backend="tiff") as slide:
            assert slide.backend == "tiff"
            assert len(slide.levels) == 3

    @pytest.mark.parametrize(
        ("unit", "factor"), [("nm", 0.001), ("mm", 1000), ("µm", 1), ("in", 25400), ("Å", 0.0001)]
    )
    def test_units_of_the_pixel_size(self, tmp_path, pixels, unit, factor):
        about = {
            "PhysicalSizeX": 0.4 / factor,
            "PhysicalSizeXUnit": unit,
            "PhysicalSizeY": 0.5 / factor,
            "PhysicalSizeYUnit": unit,
        }
        path = made_tiffs.ome(tmp_path / "u.ome.tif", pixels, metadata=about)
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx((0.4, 0.5), rel=1e-5)

    def test_unknown_units_count_as_nothing_said(self, tmp_path, pixels):
        about = {"PhysicalSizeXUnit": "pixel", "PhysicalSizeYUnit": "pixel"}
        path = made_tiffs.ome(tmp_path / "u.ome.tif", pixels, metadata=about)
        with open_slide(path) as slide:
            assert slide.mpp is None

    def test_stacks_and_fluorescence_are_refused_in_a_sentence(self, tmp_path):
        stack = np.zeros((3, 128, 128), np.uint8)
        for axes, reason in (("ZYX", "stack of 3 planes"), ("CYX", "channels")):
            path = tmp_path / f"{axes}.ome.tif"
            tifffile.imwrite(
                path, stack, ome=True, metadata={"axes": axes}, photometric="minisblack"
            )
            assert not is_slide(path)
            with pytest.raises(SlideError, match=reason):
                open_slide(path)

    @pytest.mark.parametrize("xml", ["<OME><broken", "<OME", OME.format("", "")])
    def test_damaged_xml_is_told(self, tmp_path, pixels, xml):
        path = tmp_path / "bad.ome.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", description=xml, metadata=None)
        with pytest.raises(SlideError, match=r"OME-XML"):
            open_slide(path)


class TestOmeXml:
    def test_objective(self):
        text = OME.format(
            "",
            '<Instrument ID="I:0"><Objective ID="O:0" NominalMagnification="10"/>'
            '<Objective ID="O:1" NominalMagnification="40"/></Instrument>'
            '<Image ID="Image:0"><ObjectiveSettings ID="O:1"/><Pixels SizeC="3"/></Image>',
        )
        assert read_ome_xml(text)[0].objective_power == 40

    def test_files_of_a_set_are_told_by_their_uuid_not_by_their_name(self):
        def elsewhere(uuid: str) -> bool:
            data = f'<TiffData IFD="0"><UUID FileName="renamed.tif">{uuid}</UUID></TiffData>'
            return read_ome_xml(OME.format(' UUID="urn:a"', PIXELS.format("", data)))[0].elsewhere

        assert not elsewhere("urn:a")
        assert elsewhere("urn:b")

    @pytest.mark.parametrize(
        "text",
        [
            '<!DOCTYPE OME [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>',
            '<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]><OME>&x;</OME>',
            '<!DOCTYPE OME [<!ENTITY % p SYSTEM "http://127.0.0.1/x">%p;]><OME/>',
            "<OME>" + "<a>" * 200_000,
            "<svg/>",
        ],
        ids=["entities", "a file", "a parameter", "depth", "another kind"],
    )
    def test_what_is_no_ome_xml_is_refused(self, text):
        with pytest.raises(OmeXmlError):
            read_ome_xml(text)

    @given(st.text(max_size=300))
    def test_any_text_is_understood_or_refused(self, text):
        for whole in (text, OME.format("", text), OME.format("", PIXELS.format("", text))):
            try:
                read_ome_xml(whole)
            except OmeXmlError:
                continue


class TestPlainTiff:
    def test_what_it_says(self, tmp_path, pixels):
        path = tmp_path / "strips.tif"
        made_tiffs.generic(
            path, pixels, 1, tile=None, description="a node", software="a program", rowsperstrip=16
        )
        with open_slide(path) as slide:
            assert slide.vendor == "tiff"
            assert slide.mpp == pytest.approx((0.25, 0.25))
            assert slide.properties["tiff.ImageDescription"] == "a node"
            assert slide.properties["openslide.comment"] == "a node"
            assert slide.properties["tiff.Software"] == "a program"
            assert slide.properties["tiff.ResolutionUnit"] == "centimeter"
            assert slide.tile_px == 256
            assert slide.associated_names == ()

    @pytest.mark.parametrize(
        ("resolution", "unit", "mpp"),
        [((50_800, 25_400), "INCH", (0.5, 1.0)), ((72, 72), "INCH", None), ((4, 4), "NONE", None)],
    )
    def test_resolution_is_believed_when_plausible(self, tmp_path, pixels, resolution, unit, mpp):
        path = tmp_path / "strips.tif"
        tifffile.imwrite(
            path,
            pixels,
            photometric="rgb",
            resolution=resolution,
            resolutionunit=unit,
            metadata=None,
        )
        with open_slide(path) as slide:
            assert slide.mpp == (None if mpp is None else pytest.approx(mpp))

    def test_the_same_properties_as_openslide_gives(self, tmp_path, pixels):
        # Tiled, so that both know it; read by the TIFF room because of its sub-directories.
        path = tmp_path / "sub.tif"
        options = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
        with tifffile.TiffWriter(path) as writer:
            writer.write(
                pixels,
                subifds=1,
                description="a node",
                resolution=(20_000, 30_000),
                resolutionunit="CENTIMETER",
                datetime="2020:01:02 03:04:05",
                extratags=[(271, "s", 0, "Maker", True), (315, "s", 0, "Artist", True)],
                **options,
            )
            writer.write(made_tiffs.halved(pixels), subfiletype=1, **options)
        expected = OpenSlideBackend(path).properties
        with open_slide(path) as slide:
            assert slide.backend == "tiff"
            assert len(slide.levels) == 2
            differing = {
                key: (value, slide.properties.get(key))
                for key, value in expected.items()
                if not _same(value, slide.properties.get(key))
            }
        assert set(differing) == {
            "openslide.level-count",
            "openslide.quickhash-1",
            "openslide.vendor",
        }

    def test_other_images_are_no_levels(self, tmp_path, pixels):
        path = tmp_path / "several.tif"
        with tifffile.TiffWriter(path) as writer:
            for image, kind in (
                (pixels, 0),
                (pixels, 0),  # a second page
                (made_tiffs.halved(pixels), 1),
                (pixels[:75, :75], 1),  # of another shape
                (made_tiffs.halved(pixels), 1),  # no smaller than the one before
            ):
                writer.write(image, photometric="rgb", subfiletype=kind, metadata=None)
        with open_slide(path) as slide:
            assert [(level.width_px, level.height_px) for level in slide.levels] == [
                (420, 300),
                (210, 150),
            ]


def _same(one: str, other: str | None) -> bool:
    if other is None:
        return False
    try:
        return float(one) == pytest.approx(float(other), rel=1e-6)
    except ValueError:
        return one == other
