from detkit.picture_names import (
    HEIF,
    PICTURES,
    UNREAD,
    VIDEOS,
    WRITABLE,
    heif_is_read,
    is_named_like_a_picture,
    is_picture,
    is_video,
    plain_path,
    unread_kind,
    without_ending,
)


def test_the_lists_hold_each_ending_once_in_lower_case_and_what_is_written_is_read():
    unread = [ending for endings in UNREAD.values() for ending in endings]
    every = [*PICTURES, *HEIF, *unread, *VIDEOS]
    assert len(every) == len(set(every))
    assert all(ending.startswith(".") and ending == ending.lower() for ending in every)
    assert set(WRITABLE) <= set(PICTURES)


def test_pictures_whatever_their_case():
    assert all(map(is_picture, ("a.JPG", "b/c.jfif", "d.jpe", "e.avif", "f.Tiff")))
    assert not any(map(is_picture, ("a.txt", "b.mp4", "jpg", ".jpg", "c.jpg.bak", "d.dcm")))


def test_what_is_not_read_has_a_name(monkeypatch):
    assert unread_kind("a.dcm") == "DICOM"
    assert unread_kind("a.JXL") == "JPEG XL"
    assert unread_kind("a.nef") == "camera raw"
    assert unread_kind("a.jpg") is unread_kind("a.txt") is None
    for there in (True, False):
        monkeypatch.setattr("detkit.picture_names.heif_is_read", lambda there=there: there)
        assert is_picture("a.heic") is there
        assert unread_kind("a.HEIF") == (None if there else "HEIC")


def test_whether_heic_is_read_is_asked_once():
    assert isinstance(heif_is_read(), bool)


def test_videos_and_the_ending_that_is_also_that_of_typescript(tmp_path):
    assert all(map(is_video, ("a.MP4", "b.m2ts", "c.vob", "d.asf")))
    assert not any(map(is_video, ("a.jpg", "b.tsx", "missing.ts")))
    packet = b"\x47" + bytes(187)
    (tmp_path / "film.ts").write_bytes(packet * 4)
    (tmp_path / "camera.ts").write_bytes((bytes(4) + packet) * 4)
    (tmp_path / "code.ts").write_text("export const GROUND = 1;\n" * 40)
    (tmp_path / "short.ts").write_bytes(packet)
    found = {path.name for path in tmp_path.iterdir() if is_video(path)}
    assert found == {"film.ts", "camera.ts"}


def test_names_without_their_ending():
    assert without_ending("a/b.c.JPG") == "a/b.c"
    assert without_ending("img_1.jfif") == "img_1"
    assert without_ending("scan.dcm") == "scan"
    assert without_ending("photo.heic") == "photo"
    for name in ("a.txt", "v1.2", ".jpg", "a", ""):
        assert without_ending(name) == name
    assert without_ending("a.b/c") == "a.b/c"


def test_an_annotation_may_be_of_a_picture_that_is_not_read():
    assert is_named_like_a_picture("a.dng")
    assert not is_named_like_a_picture("a.xml")


def test_plain_paths():
    assert plain_path(".\\a\\\\b.jpg") == "a/b.jpg"
    assert plain_path("./a//b/./c.jpg") == "a/b/c.jpg"
