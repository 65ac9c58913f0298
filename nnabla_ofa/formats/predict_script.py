"""Name what is on photographs, with an ONNX file of nnabla_ofa: needs onnxruntime, numpy and Pillow alone.

    python predict.py subnet.onnx cat.jpg dog.jpg

A line an image and class: file, probability and class. Classes, image size and normalisation are in the file.
"""

import argparse
import json
import sys

import numpy as np
from PIL import Image, ImageOps


def read(path, about):
    """An image (3, side, side) uint8: the centre square, resized."""
    opened = Image.open(path)
    deep = opened.mode[0] == "I"  # of 16 bits the upper 8
    image = Image.fromarray(np.uint8(np.asarray(opened) >> 8)) if deep else opened.convert("RGB")
    cut, side = (1 - 1 / about["valid_resize"]) / 2, about["image_size"]
    square = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BILINEAR, cut)
    return np.asarray(square).transpose(2, 0, 1)


def probabilities(session, about, image):
    """Of each class, for an image of `read`."""
    x = image[None]
    if not about["pixels"]:
        mean, std = (np.float32(about[key]).reshape(3, 1, 1) for key in ("mean", "std"))
        x = (np.float32(x) / 255 - mean) / std
    logits = session.run(None, {"x": x.repeat(about["batch_size"] or 1, 0)})[0][0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def main():
    """Print the most probable classes of each image; exit status 2 if one cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="the ONNX file")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes an image (default 5)")
    parser.add_argument("--threads", type=int, default=0, help="(default: the cores)")
    options = parser.parse_args()
    try:
        import onnxruntime
    except ImportError:
        sys.exit("error: onnxruntime is not installed here: pip install onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    try:
        session = onnxruntime.InferenceSession(options.file, settings, providers=["CPUExecutionProvider"])
        stored = session.get_modelmeta().custom_metadata_map
        about = {key: json.loads(stored[key]) for key in
                 ("classes", "mean", "std", "image_size", "valid_resize", "batch_size", "pixels")}
    except KeyError as error:
        sys.exit(f"error: {options.file} does not say its {error.args[0]}: export it with nnabla_ofa")
    except Exception as error:  # onnxruntime's own, of several kinds
        sys.exit(f"error: {options.file} cannot be opened: {str(error).splitlines()[0]}")
    unread = False
    for path in options.images:
        try:
            shares = probabilities(session, about, read(path, about))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"error: {path} cannot be read: {error}", file=sys.stderr)
            unread = True
            continue
        for place in np.argsort(-shares, kind="stable")[:options.top]:
            print(path, f"{shares[place]:.4f}", about["classes"][place], sep="\t")
    sys.exit(2 if unread else 0)


if __name__ == "__main__":
    main()
