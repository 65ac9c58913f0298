"""Images that are whole, though something about their files is odd, are read; damaged ones are not."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from nnabla_ofa.data import open_dataset
from nnabla_ofa.data.check import check
from nnabla_ofa.data.decode import STRAY, UnreadableImage, read_image
from nnabla_ofa.data.jpeg import VARIETY, mend_headers

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
DQT, SOF, DHT, SOS = b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda"
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
RESTARTS = [cv2.IMWRITE_JPEG_RST_INTERVAL, 3]


def scene(height=90, width=120, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(image=None, options=()):
    return cv2.imencode(".jpg", scene() if image is None else image, list(options))[1].tobytes()


def pixels(data):
    """As OpenCV decodes them, which takes no notice of warnings."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def before(data, marker, stray):
    """The JPEG with stray bytes before the first of its markers of this kind."""
    at = data.index(marker)
    return data[:at] + stray + data[at:]


def version(major, minor):
    data = jpeg()
    at = data.index(b"JFIF\0") + 5
    return data[:at] + bytes([major, minor]) + data[at + 2:]


def scan(first, last, bits, options=()):
    """The JPEG whose scan says which coefficients and bits of them it holds."""
    data = jpeg(options=options)
    at = data.index(SOS) + 2
    at += int.from_bytes(data[at:at + 2], "big")
    return data[:at - 3] + bytes([first, last, bits]) + data[at:]


def adobe(transform, image=None):
    """The JPEG without JFIF's segment, but with Adobe's, which names the colours' transform."""
    data = jpeg(image)
    size = int.from_bytes(data[4:6], "big")
    return SOI + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]) + data[4 + size:]


ODD_HEADERS = {
    "JFIF 0.00": version(0, 0), "JFIF 2.01": version(2, 1), "JFIF 255.255": version(255, 255),
    "scan to 0": scan(0, 0, 0), "scan of bit 1": scan(0, 63, 1), "scan from 63": scan(63, 63, 0x11),
    "restarts, scan to 0": scan(0, 0, 0, RESTARTS),
    "Adobe 5": adobe(5), "Adobe 2 of three colours": adobe(2), "Adobe 255": adobe(255),
    "grey, Adobe 5": adobe(5, scene()[..., 0]),
    "all at once": version(2, 1).replace(b"\0\x3f\0", b"\0\0\1"),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_odd_headers_are_no_damage(tmp_path, name, capfd):
    path, data = tmp_path / "a.jpg", ODD_HEADERS[name]
    path.write_bytes(data)
    expected = pixels(data)
    capfd.readouterr()
    assert np.array_equal(read_image(str(path)), expected) and expected.std() > 20
    assert read_image(str(path), lambda height, width: 2).shape == (45, 60, 3)
    assert capfd.readouterr() == ("", "")
    path.write_bytes(data[:-150] + EOI)  # ... but this is
    with pytest.raises(UnreadableImage, match="a.jpg: cannot be decoded .Corrupt JPEG data"):
        read_image(str(path))


def test_four_inks_with_an_unknown_transform(tmp_path):
    path, file = tmp_path / "inks.jpg", io.BytesIO()
    Image.fromarray(np.dstack([scene(), scene()[..., :1]]), "CMYK").save(file, "jpeg")
    data = file.getvalue()
    at = data.index(b"Adobe") + 11
    images = []
    for transform in (2, 5):
        path.write_bytes(data[:at] + bytes([transform]) + data[at + 1:])
        images.append(read_image(str(path)))
    assert np.array_equal(*images) and images[0].shape == (90, 120, 3)


STRAY_BYTES = {
    **{f"before {name}": before(jpeg(), marker, b"\0\7") for name, marker in
       (("DQT", DQT), ("SOF", SOF), ("DHT", DHT), ("SOS", SOS))},
    "a pair that is no marker": before(jpeg(), DHT, b"\1\xff\0\2"),
    "before SOS of a progressive one": before(jpeg(options=PROGRESSIVE), SOS, b"\0\7"),
    **{f"before EOI, {name}": before(jpeg(options=options), EOI, stray)
       for options in ((), PROGRESSIVE, RESTARTS) for name, stray in
       ((f"{options} one", b"\0"), (f"{options} one, high", b"\xf3"), (f"{options} odd", b"\x12\x34\x56" * 5),
        (f"{options} padding", bytes(500)), (f"{options} stuffed", b"\xff\0" * 9),
        (f"{options} random", np.random.default_rng(0).bytes(VARIETY).replace(b"\xff", b"")))},
    "before DQT and EOI": before(before(jpeg(), DQT, b"\0"), EOI, b"\0\0"),
    "and JFIF 2.01": before(version(2, 1), EOI, bytes(3)),
}


@pytest.mark.parametrize("name", STRAY_BYTES)
def test_stray_bytes_are_left_out(tmp_path, name):
    path, data = tmp_path / "a.jpg", STRAY_BYTES[name]
    path.write_bytes(data)
    assert np.array_equal(read_image(str(path)), pixels(data))
    assert np.array_equal(read_image(str(path), lambda height, width: 2), pixels_at_half(data))


def pixels_at_half(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]


def test_bytes_that_damage_leaves_over_are_no_stray_ones(tmp_path):
    """A changed bit can bring a decoder to its end early, as if the rest were stray bytes."""
    rng, path = np.random.default_rng(0), tmp_path / "a.jpg"
    data = jpeg(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    taken, refused = 0, 0
    for place in rng.integers(data.index(SOS) + 14, len(data) - 2, 300):
        STRAY.forget()
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1:])
        try:
            read_image(str(path))
            taken += str(path) in STRAY
        except UnreadableImage as error:
            refused += "extraneous bytes before marker 0xd9" in str(error)
    assert refused > 20 and taken <= refused / 10


def test_headers_that_make_no_sense_stay_as_they_are():
    data = jpeg()
    assert mend_headers(data).data == data and mend_headers(data).stray == 0
    for broken in (SOI, SOI + EOI, data[:9], data[:200], data[:-2], SOI + b"\xff\xe0\0\0" + data[2:],
                   SOI + b"\xff\xe0\0\1" + data[2:], data[:data.index(SOF) + 5] + EOI):
        assert mend_headers(broken) is None


def test_stray_bytes_are_said_once_and_counted_by_check(tmp_path, capfd):
    STRAY.forget()
    for part in ("train", "val"):
        for name, data in (("a", jpeg()), ("b", before(jpeg(), EOI, bytes(9))),
                           ("c", before(jpeg(), DQT, bytes(2)))):
            path = tmp_path / part / "cat" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    train, test = open_dataset(tmp_path)
    for _ in range(2):
        for dataset in (train, test):
            for i in range(len(dataset)):
                dataset.decode(i)
    said = [line for line in capfd.readouterr().err.splitlines() if "stray" in line]
    assert len(said) == 1 and "b.jpg: read without 9 stray bytes" in said[0]
    report = check(train)
    assert report.unreadable == () and [name[-5:] for name in report.stray] == ["b.jpg", "c.jpg"]


# GIF ---------------------------------------------------------------------------------------------

def gif(frames=1, **options):
    images = [Image.fromarray(scene(seed=i)).quantize(64) for i in range(frames)]
    file = io.BytesIO()
    images[0].save(file, "gif", save_all=True, append_images=images[1:], **options)
    return file.getvalue(), np.asarray(images[0].convert("RGB"))


@pytest.mark.parametrize("name", ["a.gif", "a.jpg"])
@pytest.mark.parametrize("frames", [1, 3])
def test_gifs_are_read_whatever_their_name(tmp_path, name, frames):
    data, expected = gif(frames)
    (tmp_path / name).write_bytes(data)
    assert np.array_equal(read_image(str(tmp_path / name)), expected)
    grey = Image.fromarray(scene()[..., 0])
    grey.save(tmp_path / "grey.gif")
    assert np.array_equal(read_image(str(tmp_path / "grey.gif")), np.dstack([grey] * 3))


def test_damaged_gifs_are_named(tmp_path):
    path, (data, _) = tmp_path / "a.jpg", gif()
    huge = data[:6] + b"\xff\xff\xff\xff" + data[10:]  # 65535 x 65535
    for broken in (data[:4], data[:20], data[:len(data) // 2], b"GIF89a" + bytes(99), huge):
        path.write_bytes(broken)
        with pytest.raises(UnreadableImage, match="a.jpg: cannot be decoded .a GIF, damaged"):
            read_image(str(path))


@pytest.mark.parametrize("whole", [gif()[0], gif(3)[0], version(2, 1), STRAY_BYTES["before DQT and EOI"]])
def test_whatever_is_in_a_file_it_is_an_image_or_one_error(tmp_path, whole):
    rng, path, read = np.random.default_rng(0), tmp_path / "a", 0
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            data[place:place + int(rng.integers(3))] = rng.bytes(int(rng.integers(4)))
        path.write_bytes(data)
        try:
            image = read_image(str(path))
        except UnreadableImage as error:
            assert "\n" not in str(error)
        else:
            read += 1
            assert image.ndim == 3 and image.dtype == np.uint8 and image.shape[2] == 3
    assert 0 < read < 200
