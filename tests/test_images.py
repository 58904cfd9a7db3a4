import io
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.errors import InputError, OutputError
from detkit.images import (
    as_image,
    check_header,
    decode_image,
    max_pixels,
    read_image,
    set_max_pixels,
    to_eight_bits,
    write_image,
)
from detkit.picture_files.native_messages import native_messages

PIL = pytest.importorskip("PIL.Image")


def scene(height=80, width=120, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_as_pillow_does_supervision_2577(kind, orientation):
    from PIL import ImageOps

    exif = PIL.Exif()
    exif[0x112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    content = saved(PIL.fromarray(scene()), kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(PIL.open(io.BytesIO(content))))
    found = decode_image(content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_sixteen_bits_are_scaled_ultralytics_21645():
    image = scene()
    ok, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)
    assert ok
    assert np.array_equal(decode_image(bytes(content)), image)


def test_twelve_bits_in_a_sixteen_bit_file_are_not_crushed():
    samples = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    eight = to_eight_bits(samples)
    assert eight.min() == 0
    assert eight.max() == 255


def test_floats_and_infinities():
    assert to_eight_bits(np.array([0.0, 0.5, 1.0, np.nan])).tolist() == [0, 128, 255, 0]
    assert to_eight_bits(np.array([0.0, 50.0, 100.0, np.inf])).tolist() == [0, 128, 255, 0]


def test_gray_gray_with_alpha_and_palette():
    gray = scene()[:, :, 0]
    for image in (PIL.fromarray(gray), PIL.merge("LA", [PIL.fromarray(gray), PIL.new("L", gray.shape[::-1], 255)])):
        found = decode_image(saved(image, "PNG"))
        assert np.array_equal(found, np.dstack([gray] * 3))
    palette = PIL.fromarray(scene()).quantize(16)
    assert np.array_equal(decode_image(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_cmyk_is_converted():
    image = PIL.fromarray(scene()).convert("CMYK")
    found = decode_image(saved(image, "JPEG", quality=95))
    assert np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).mean() < 6


def test_alpha_is_laid_on_white_unstructured_69():
    rgba = np.dstack((scene(), np.zeros((80, 120), np.uint8)))
    rgba[:40, :, 3] = 255
    rgba[40:60, :, 3] = 51
    found = decode_image(saved(PIL.fromarray(rgba), "PNG"))
    assert np.array_equal(found[:40], scene()[:40])
    expected = np.round(scene()[40:60] * 0.2 + 255 * 0.8)
    assert np.abs(found[40:60] - expected).max() <= 1
    assert (found[60:] == 255).all()


def test_the_first_frame_of_an_animation():
    frames = [PIL.fromarray(scene(seed=seed)) for seed in (1, 2)]
    content = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(decode_image(content), scene(seed=1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.97])
def test_truncated_files_are_named(kind, share, capfd):
    content = saved(PIL.fromarray(scene(240, 320)), kind)
    with pytest.raises(InputError, match=r"empty|truncated"):
        decode_image(content[: int(len(content) * share)])
    said = capfd.readouterr().err
    assert said == "" if kind == "PNG" else said.count("\n") <= 2  # what a decoder itself prints, at most


def test_a_damaged_png_is_refused_without_a_word_of_libpng(capfd):
    content = bytearray(saved(PIL.fromarray(scene(240, 320)), "PNG"))
    assert (decode_image(bytes(content)) == scene(240, 320)).all()
    content[len(content) // 2] ^= 255
    with pytest.raises(InputError, match="damaged"):
        decode_image(bytes(content))
    assert capfd.readouterr().err == ""


def test_what_is_no_picture(tmp_path):
    (tmp_path / "note.jpg").write_text("not a picture")
    with pytest.raises(InputError, match="note.jpg: cannot be decoded"):
        read_image(tmp_path / "note.jpg")
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_a_picture_too_large_is_refused_not_a_crash(tmp_path):
    header = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + (60000).to_bytes(4, "little") + (60000).to_bytes(4, "little")
    content = header + info + b"\x01\x00\x18\x00" + bytes(24)
    with pytest.raises(InputError, match=r"pixels|truncated"):
        decode_image(content)


def test_arrays_of_a_caller():
    gray = scene()[:, :, 0]
    assert as_image(gray).shape == (80, 120, 3)
    assert as_image(gray[:, :, None]).shape == (80, 120, 3)
    assert np.array_equal(as_image(scene()), scene())
    assert as_image(np.dstack((scene(), gray))).shape == (80, 120, 3)
    with pytest.raises(InputError, match=r"got \(2, 3, 4, 5\)"):
        as_image(np.zeros((2, 3, 4, 5)))
    with pytest.raises(InputError, match="shape"):
        as_image(np.zeros((0, 5, 3)))


def test_written_pictures_read_back(tmp_path):
    write_image(tmp_path / "deep" / "picture.png", scene())
    assert np.array_equal(read_image(tmp_path / "deep" / "picture.png"), scene())
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["picture.png"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_image(tmp_path / "file" / "picture.png", scene())


# ------------------------------------------------------------------ damaged JPEGs, and what libraries print


def big_jpeg(**options):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    return saved(PIL.fromarray(noise), "JPEG", quality=80, **options)


@pytest.mark.skipif(native_messages() is None, reason="what libjpeg prints is read with glibc only")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("hole", [bytes(700), None])
def test_a_jpeg_with_a_hole_is_named_as_damaged(progressive, hole, capfd):
    content = bytearray(big_jpeg(progressive=progressive))
    assert decode_image(bytes(content)).shape == (240, 320, 3)
    at = len(content) // 2
    content[at : at + 700] = hole or np.random.default_rng(1).integers(0, 256, 700, dtype=np.uint8).tobytes()
    with pytest.raises(InputError, match=r"is damaged, a part of it cannot be decoded \(Corrupt JPEG data: [^\n]*\)$"):
        decode_image(bytes(content))
    assert capfd.readouterr().err == ""


def test_bytes_that_fill_up_the_end_of_a_jpeg_are_no_damage(capfd):
    content = big_jpeg()
    for filling in (bytes(100), b"\xff" * 64):
        assert np.array_equal(decode_image(content[:-2] + filling + content[-2:]), decode_image(content))
    assert np.array_equal(decode_image(content + b"a second picture"), decode_image(content))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(native_messages() is None, reason="what libjpeg prints is read with glibc only")
def test_in_threads_only_the_damaged_pictures_are_named():
    whole = big_jpeg()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(600) + whole[middle + 600 :]
    jobs = [damaged if number % 5 == 0 else whole for number in range(100)]

    def refused(content):
        try:
            decode_image(content)
        except InputError:
            return True
        return False

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(refused, jobs)) == [number % 5 == 0 for number in range(100)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_can_decode_while_others_do(tmp_path):
    """It has no thread that would open the gate or give C's stderr back."""
    code = """if True:
        import os, sys
        from detkit import images
        with images._gate.entered(images.max_pixels()):
            child = os.fork()
            if child == 0:
                images.decode_image(open(sys.argv[1], 'rb').read())
                os._exit(0)
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    (tmp_path / "a.jpg").write_bytes(big_jpeg())
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], cwd=root, timeout=30).returncode == 0


def test_stderr_of_python_and_of_child_processes_is_left_alone(capfd):
    decode_image(big_jpeg())
    print("own words", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'a child')"], check=True)
    assert capfd.readouterr().err == "own words\na child"


def test_a_png_full_of_chunks_that_libpng_complains_of(capfd):
    """Thousands of lines on stderr came from one file."""
    content = saved(PIL.fromarray(scene()), "PNG")
    bad = b"".join(
        struct.pack(">I4s", 3, kind) + b"abc" + struct.pack(">I", zlib.crc32(kind + b"abc"))
        for kind in (b"iCCP", b"tIME", b"cHRM", b"pHYs") * 500
    )
    assert np.array_equal(decode_image(content[:33] + bad + content[33:]), scene())
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ the budget of pixels


@pytest.fixture
def small_budget():
    before = max_pixels()
    set_max_pixels(10_000)
    yield
    set_max_pixels(before)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM"])
@pytest.mark.usefixtures("small_budget")
def test_pictures_beyond_the_budget_are_refused_by_their_header(kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        InputError, match=r"^is 101 x 100 pixels, more than the 10,000 .*; --max-pixels 10100 allows it$"
    ):
        decode_image(saved(PIL.new("RGB", (101, 100)), kind))


@pytest.mark.usefixtures("small_budget")
def test_deep_pixels_count_for_more():
    assert decode_image(saved(PIL.new("RGB", (100, 100)), "PNG")).shape == (100, 100, 3)
    ok, deep = cv2.imencode(".png", np.zeros((100, 100, 4), np.uint16))
    assert ok
    with pytest.raises(InputError, match="of 8 bytes"):
        decode_image(bytes(deep))


@pytest.mark.usefixtures("small_budget")
def test_threads_wait_for_each_other_rather_than_take_more_memory():
    content = saved(PIL.new("RGB", (90, 90)), "JPEG")
    with ThreadPoolExecutor(6) as threads:
        assert all(image.shape == (90, 90, 3) for image in threads.map(decode_image, [content] * 60))


def test_a_budget_of_nothing():
    with pytest.raises(InputError, match="above 0"):
        set_max_pixels(0)


def test_kinds_that_are_not_read_are_called_what_they_are(monkeypatch):
    with pytest.raises(InputError, match="^is DICOM, which is not read$"):
        decode_image(bytes(128) + b"DICM" + bytes(40))
    with pytest.raises(InputError, match="^is JPEG XL, which is not read$"):
        decode_image(b"\xff\x0a" + bytes(40))


def test_jpeg_2000_of_two_channels_is_not_called_damaged():
    gray = PIL.new("L", (40, 30))
    with pytest.raises(InputError, match="^is JPEG 2000 of 2 channels; 1, 3 and 4 are read$"):
        decode_image(saved(PIL.merge("LA", [gray, gray]), "JPEG2000"))


def test_heic_without_its_library_says_what_to_install(monkeypatch):
    def box(kind, content):
        return struct.pack(">I4s", len(content) + 8, kind) + content

    held = box(b"ipco", box(b"ispe", bytes(4) + struct.pack(">II", 37, 21)))
    joined = box(b"ipma", bytes(4) + struct.pack(">IHBB", 1, 1, 1, 1))
    meta = box(b"meta", bytes(4) + box(b"pitm", bytes(4) + b"\0\1") + box(b"iprp", held + joined))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match="is HEIC, which is read with the package pillow-heif"):
        decode_image(box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + meta)


def test_heic_as_pillow_heif_reads_it():
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs PyPI: pillow-heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(PIL.fromarray(scene())).save(buffer, quality=100, chroma=444)
    content = buffer.getvalue()
    assert np.abs(decode_image(content).astype(int) - scene()).max() <= 4
    at = content.index(b"pixi")  # a property that is not needed becomes a rotation
    for quarters in range(4):
        turned = content[:at] + b"irot" + bytes([quarters]) + content[at + 5 :]
        found = decode_image(turned)
        assert np.abs(found.astype(int) - np.rot90(scene(), quarters)).max() <= 4
        assert check_header(turned).shown_size == found.shape[1::-1]


# ------------------------------------------------------------------ other readings that were wrong


def test_a_gray_png_with_a_transparent_gray():
    gray = scene()[:, :, 0]
    key = int(gray[0, 0])
    found = decode_image(saved(PIL.fromarray(gray), "PNG", transparency=key))
    assert np.array_equal(found[:, :, 0], np.where(gray == key, 255, gray))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_and_mirrored(orientation):
    """OpenCV leaves HEIF's irot and imir alone, which Pillow writes for an EXIF orientation."""
    from PIL import ImageOps

    exif = PIL.Exif()
    exif[0x112] = orientation
    try:
        content = saved(PIL.fromarray(scene()), "AVIF", exif=exif, quality=95)
    except (KeyError, OSError):
        pytest.skip("this Pillow does not write AVIF")
    expected = np.asarray(ImageOps.exif_transpose(PIL.open(io.BytesIO(content))).convert("RGB"))
    found = decode_image(content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_negative_samples_of_a_caller_are_refused():
    with pytest.raises(InputError, match=r"negative samples \(-5 to 9\)"):
        as_image(np.array([[-5, 9]], np.int16))
    assert to_eight_bits(np.array([-0.01, 0.0, 1.0])).tolist() == [0, 0, 255]  # resampling makes such


def test_signed_samples_reach_to_half():
    assert to_eight_bits(np.array([0, 127], np.int8)).tolist() == [0, 255]
    assert to_eight_bits(np.array([0, 32767], np.int16)).tolist() == [0, 255]
    assert to_eight_bits(np.array([0, 2**31 - 1], np.int32)).tolist() == [0, 255]


def test_large_pictures_are_scaled_in_parts_and_all_the_same():
    samples = np.random.default_rng(0).integers(0, 65536, (3000, 1500), dtype=np.uint16)
    assert np.array_equal(to_eight_bits(samples), np.round(samples * (255 / 65535)).astype(np.uint8))


def test_files_whose_bytes_are_changed_give_a_picture_or_one_line():
    """The fuzzer at length: 160,000 files of 22 kinds, none ended in anything else."""
    rng = np.random.default_rng(0)
    said = []
    exif = PIL.Exif()
    exif[0x112] = 6
    kinds = [saved(PIL.fromarray(scene()), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
    kinds += [saved(PIL.fromarray(scene()), kind) for kind in ("GIF", "BMP", "PPM", "JPEG2000")]
    for number in range(1500):
        content = bytearray(kinds[number % len(kinds)])
        for place in rng.integers(0, min(len(content), 150 if number % 2 else len(content)), 1 + number % 4):
            content[place] = rng.integers(256)
        if number % 7 == 0:
            del content[int(rng.integers(len(content))) :]
        try:
            image = decode_image(bytes(content))
        except InputError as error:
            said.append(str(error))
            continue
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
    assert 100 < len(said) < 1400
    assert not any("\n" in line for line in said)


def test_opencv_that_cannot_be_loaded_is_explained(tmp_path, cli):
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parent.parent)))
    done = cli("yolo", "a.jpg", env={"PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith("detkit: OpenCV cannot be loaded (libGL.so.1: cannot open")
    assert "pip install opencv-python-headless" in done.stderr
    assert done.stderr.count("\n") == 1
    assert cli("--help", env={"PYTHONPATH": path}).returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux only")
def test_names_that_are_not_utf_8(tmp_path):
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.png"))
    Path(path).write_bytes(saved(PIL.fromarray(scene()), "PNG"))
    assert np.array_equal(read_image(path), scene())
    with pytest.raises(InputError, match="cannot be read"):
        read_image("a\0b.jpg")
