"""Images that declare more pixels than they can hold: refused before there is room for one of them."""

from __future__ import annotations

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import declared
from nnabla_ofa.data.decode import UnreadableImage, read_image
from nnabla_ofa.data.pillow import open_jpeg

SIDE = 16000  # 256 million pixels: no format and no decoder refuses that many by itself


def png(width, height, rows):
    """A PNG of one bit a pixel; rows: compressed."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def black(width, height):
    return zlib.compress(bytes(1 + -(-width // 8)) * height, 9)


def jpeg(progressive, width=SIDE, height=SIDE):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8), options)[1].tobytes())
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[frame + 5:frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width=SIDE, height=SIDE):
    """Run lengths, of which there are none: all pixels are the first colour."""
    start = 54 + 1024
    return (b"BM" + struct.pack("<IHHI", start + 2, 0, 0, start)
            + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 2, 0, 0, 256, 0) + bytes(1024)
            + b"\0\1")


def tiff(width=SIDE, height=SIDE, order="<", big=False):
    """Run lengths of one strip."""
    tags = {256: width, 257: height, 258: 8, 259: 32773, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    form, kind = ("HHQQ", 16) if big else ("HHII", 4)
    entries = b"".join(struct.pack(order + form, tag, kind, 1, value) for tag, value in tags.items())
    name = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = name + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        return head + struct.pack(order + "Q", len(tags)) + entries + bytes(8)
    return name + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(tags)) + entries + bytes(68)


def saved(form, image, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def webp(kind):
    whole = bytearray(saved("webp", Image.new("RGBA", (16, 16)), lossless=kind != b"VP8 ")
                      if kind != b"VP8 " else saved("webp", Image.new("RGB", (16, 16))))
    if kind == b"VP8 ":
        whole[26:30] = struct.pack("<HH", SIDE, SIDE)
    elif kind == b"VP8L":
        whole[21:25] = struct.pack("<I", (SIDE - 1) | (SIDE - 1) << 14)
    else:
        whole[12:30] = b"VP8X" + struct.pack("<II", 10, 0) + (SIDE - 1).to_bytes(3, "little") * 2
    return bytes(whole)


def jpeg2000(suffix):
    whole = bytearray(saved("jpeg2000", Image.new("RGB", (16, 16)), no_jp2=suffix == "j2k"))
    at = whole.index(b"\xff\x4f\xff\x51")
    whole[at + 8:at + 16] = struct.pack(">II", SIDE, SIDE)
    return bytes(whole)


def gif():
    whole = bytearray(saved("gif", Image.new("P", (16, 16))))
    whole[6:10] = struct.pack("<HH", SIDE, SIDE)
    return bytes(whole)


BOMBS = {
    "png": lambda: png(SIDE, SIDE, black(SIDE, SIDE)), "jpeg": lambda: jpeg(False), "bmp": bmp, "tiff": tiff,
    "progressive jpeg": lambda: jpeg(True), "tiff of Motorola": lambda: tiff(order=">"), "gif": gif,
    "large tiff": lambda: tiff(big=True), "its other order": lambda: tiff(order=">", big=True),
    "webp": lambda: webp(b"VP8 "), "jp2": lambda: jpeg2000("jp2"),
    "lossless webp": lambda: webp(b"VP8L"), "webp of parts": lambda: webp(b"VP8X"),
    "codestream": lambda: jpeg2000("j2k"), "pgm": lambda: b"P5 # a remark\n%d %d 255\n" % (SIDE, SIDE)}


@pytest.mark.parametrize("kind", BOMBS)
def test_too_many_pixels_are_refused_before_memory_is_allocated(tmp_path, little_memory, kind):
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[kind]())
    with little_memory(), pytest.raises(UnreadableImage, match=f"{SIDE}x{SIDE} pixels in .* are too many"):
        read_image(str(path))
    assert open_jpeg(str(path)) is None  # the back ends of Pillow and DALI


def test_memory_is_the_limit_of_that_test(tmp_path, little_memory):
    """So the test above can fail."""
    with little_memory(), pytest.raises(MemoryError):
        bytes(SIDE * SIDE)


@pytest.mark.parametrize("extension, options", [
    (".png", {}), (".bmp", {}), (".webp", {}), (".tif", {}), (".jp2", {}), (".ppm", {}), (".pgm", {}),
    (".tif", {"compression": "tiff_lzw"}), (".webp", {"lossless": True}), (".webp", {"exif": b"Exif\0\0"}),
    (".jpg", {}), (".jpg", {"progressive": True})])
def test_what_a_whole_file_declares_is_its_size(tmp_path, extension, options):
    path = tmp_path / f"a{extension}"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8))
    (image.convert("L") if extension == ".pgm" else image).save(path, **options)
    data = path.read_bytes()
    reader = next(reader for start, reader in declared._READERS.items() if data.startswith(start))
    assert tuple(reader(data)) == (61, 45) and read_image(str(path)).shape == (45, 61, 3)


def test_the_limit_grows_with_the_file_and_a_blank_page_passes(tmp_path):
    declared.require_room(declared.PLENTY + 2 * declared.PER_BYTE, 1, 2)
    for wide, size in ((declared.PLENTY + 2 * declared.PER_BYTE + 1, 2), (declared.MOST + 1, 2**30)):
        with pytest.raises(ValueError, match="too many"):
            declared.require_room(wide, 1, size)
    (tmp_path / "blank.png").write_bytes(png(4000, 4000, black(4000, 4000)))
    assert not read_image(str(tmp_path / "blank.png")).any()


def test_what_is_no_image_format_of_ours_is_refused(tmp_path):
    sun = struct.pack(">IIIIIIII", 0x59A66A95, 16, 16, 8, 256, 1, 0, 0) + bytes(256)  # which OpenCV reads
    (tmp_path / "a.jpg").write_bytes(sun)
    with pytest.raises(UnreadableImage, match="not an image, or damaged"):
        read_image(str(tmp_path / "a.jpg"))


def test_devices_pipes_and_huge_files_are_no_images(tmp_path, little_memory):
    os.symlink("/dev/zero", tmp_path / "zero.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "holes.jpg").touch()
    os.truncate(tmp_path / "holes.jpg", 2**40)
    for name, why in (("zero", "no regular"), ("pipe", "no regular"), ("holes", "bytes, more than")):
        with little_memory(), pytest.raises(UnreadableImage, match=why):
            read_image(str(tmp_path / f"{name}.jpg"))
