"""results/deploy.md: every figure is a record's, float32 and int8 each in its place."""

from nnabla_ofa.reports.pages import deploy as page

RUN = {"kind": "benchmark", "recipe": "benchmark_deploy", "command": "python benchmarks/deploy.py",
       "versions": {"python": "3.10", "onnxruntime": "1.19.2"}, "settings": {"rounds": 30},
       "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}}
MADE = {"commit": "abc", "date": "2026-12-01"}
NETWORK = {"network": "net", "image_size": 32, "macs": 2_000_000, "parameters": 5, "float32_bytes": 2_500_000,
           "int8_bytes": 700_000, **{f"{key}_ms_{threads}": value + threads / 100
                                     for threads in (1, 2)
                                     for key, value in (("ours", 1), ("float32", 2), ("int8", 3))}, **MADE}
TABLE = {"space": "K7", "precision": "int8", "image_size": 32, "unit": "block", "operations": 29,
         "threads": 1, "count": 50, "mean_relative_error": 0.0123, "kendall_tau": 0.9, "slowdown": 0.04,
         "fastest_ms": 1.5, "slowest_ms": 2.5, "overhead_ms": -1, **MADE}
ASKED = {"count": 60, "held_out_images": 5000, "int8": {"calibrate": "minmax", "images": 256},
         "recipe": "deploy", "space": "K7", "image_size": 24}


def front_row(front, ms, float32, int8, **more):
    return {"front": front, "subnet": f"subnet of {front} {ms}", "latency_ms": ms, "valid_top1": float32,
            "top1": float32 - 0.01, "int8_valid_top1": int8, "int8_top1": int8 - 0.01, **more, **MADE}


def records():
    rows = [front_row("float32", 1.5, 0.8, 0.7), front_row("float32", 1.0, 0.75, 0.74),
            front_row("int8", 0.5, 0.72, 0.71, int8_bytes=123_456, float32_bytes=9),
            front_row("float32, quantised", 0.9, 0.8, 0.7, int8_bytes=2_000_000)]
    trained = {**NETWORK, "network": "trained", "top1": 0.9, "int8_top1": 0.8912}
    return [{**RUN, "name": "networks", "results": [NETWORK, trained]},
            {**RUN, "name": "tables", "results": [TABLE]},
            {**RUN, "name": "fronts", "results": rows, "settings": {**RUN["settings"], **ASKED}}]


def test_the_page_says_what_the_records_say():
    text = page.pages(records())["deploy.md"]
    assert "| `net` | 32 | 2.000 M | - | - | 2.50 MB | 700 kB | 1.01 | 2.01 | 3.01 | 1.02 | 2.02 |" in text
    assert "| `trained` | 32 | 2.000 M | 90.00% | 89.12% |" in text
    assert "| `K7` | int8 | 32 | 1 | 29 | 50 | 1.5 to 2.5 | 1.2% | 0.900 | 4% |" in text
    assert "| float32 | `subnet of float32 1.5` | 1.5 | 80.00% | 79.00% | - |" in text
    assert "| int8 | `subnet of int8 0.5` | 0.5 | 71.00% | 70.00% | 123 kB |" in text
    assert "`subnet of float32, quantised 0.9` | 0.9 | 70.00% | 69.00% | 2.00 MB |" in text
    assert "5,000 held-out images" in text and "minmax from 256" in text and page.PICTURE in text


def test_the_picture_has_each_front_by_its_own_top1():
    found = page.points(records()[2])
    assert found == {"float32": [(1.0, 0.74), (1.5, 0.79)], "int8": [(0.5, 0.7)],
                     "float32, quantised": [(0.9, 0.69)]}
    figure = page.figures(records())[page.PICTURE]
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert {"float32", "int8", "float32, quantised"} <= labels


def test_parts_without_a_record_are_left_out():
    assert page.pages([]) == {} and page.figures([]) == {}
    text = page.pages(records()[:1])["deploy.md"]
    assert "## Networks" in text and "## Latency tables" not in text and "## Searched" not in text
