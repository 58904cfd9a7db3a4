import io

import cv2
import numpy as np
import pytest

from detkit.errors import InputError, OutputError
from detkit.images import as_image, decode_image, read_image, to_eight_bits, write_image

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
