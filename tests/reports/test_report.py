"""A search's page: what it says, that it is whole in one file, and that a browser shows it."""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import nnabla_ofa as ofa
from nnabla_ofa.reports import search_report as report
from nnabla_ofa.reports.cells import count
from nnabla_ofa.reports.pages import index
from nnabla_ofa.reports.pages import search as comparison
from nnabla_ofa.reports.plots.fronts import choices_figure, front_figure
from nnabla_ofa.search.methods import search
from nnabla_ofa.search.problem import Problem, cost_function, pareto

CONFIG = ofa.Xception(classes=4, widths=(40,) * 8, middle_blocks=2)
SPACE = CONFIG.space("K357_E0.6+0.8+1_D123")
WEIGHTS = "runs/a & b/<weights>.h5"  # what has a meaning of its own in HTML and in a shell
RUN = {"recipe": "xception_digits", "stage": "search", "space": "K357_E0.6+0.8+1_D123", "seed": 0, "ranks": 1,
       "seconds": 3.0, "date": "2026-11-21", "commit": None, "versions": {"python": "3.10"},
       "machine": {"cpu": "a CPU", "cores": 2, "gpu": None}}


def accuracy(archs):
    return [sum(block.kernel + 3 * block.depth for block in arch.blocks) / 40 for arch in archs]


@pytest.fixture(scope="module")
def made():
    """(record, page) of a small search."""
    problem = Problem(SPACE, cost_function(ofa.Network(CONFIG, SPACE), 16))
    found = search(problem, accuracy, 30)
    front = pareto(found)
    asked = {"weights": WEIGHTS, "method": "nsga2", "evaluated": 30, "limits": {"macs": 2e6},
             "objective": "macs", "image_size": 16, "search_seed": 0, "predictor": "", "latency_table": "",
             "held_out_images": 144}
    rows = [{"subnet": str(one.arch), **one.costs, "valid_top1": one.top1, "top1": one.top1 - 0.01}
            for one in front]
    record = dict(RUN, command="python runners/search.py", results=rows, search=asked)
    return record, report.page(record, report.pictures(asked, SPACE, found, front, found[:3]))


class Elements(HTMLParser):
    """The start tags of a page, and that they are closed in order."""

    VOID = {"meta", "img"}

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.data = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)


def test_the_page_is_whole_in_one_file(made):
    tags = Elements(made[1]).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "embed", "base"}
    sources = [value for _, attrs in tags for name, value in attrs.items()
               if name in ("src", "href", "srcset")]
    assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in made[1] and "@import" not in made[1]
    policy, = [attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_every_subnet_has_a_row_and_its_commands(made):
    record, page = made
    rows = re.findall(r"<tr>(.*?)</tr>", page)[1:]
    assert len(rows) == len(record["results"]) > 3
    for number, (text, row) in enumerate(zip(rows, record["results"]), 1):
        cells = re.findall(r"<td.*?>(.*?)</td>", text)
        assert cells == [str(number), row["subnet"], count(row["macs"]),
                         count(row["parameters"]), f"{row['valid_top1']:.2%}", f"{row['top1']:.2%}"]
    blocks = [html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)][:-1]
    for block, row in zip(blocks, record["results"]):
        for line, runner in zip(block.splitlines(), ("evaluate", "finetune", "export")):
            words = shlex.split(line)
            assert words[:2] == ["python", f"runners/{runner}.py"]
            assert words[words.index("--weights") + 1] == WEIGHTS
            assert words[words.index("--subnet") + 1] == row["subnet"]


def test_what_a_record_says_is_text_and_nothing_else(made):
    evil = """<script>alert("1")</script> 'single' & <b class="x">"""
    told = {key: evil for key in ("recipe", "space", "date", "commit", "command")}
    paths = {key: evil for key in ("weights", "method", "predictor", "latency_table")}
    asked = {**made[0]["search"], **paths}
    rows = [dict(row, subnet=evil) for row in made[0]["results"]]
    record = {**made[0], **told, "search": asked, "results": rows, "versions": {evil: evil},
              "machine": {"cpu": evil, "cores": 2, "gpu": evil}}
    found = Elements(report.page(record, {evil: b"1"}))
    plain = Elements(report.page(made[0], {"caption": b"1"}))
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in plain.tags} | {"code"}
    assert not [attrs for _, attrs in found.tags if attrs.get("class") == "x"]
    assert [attrs["alt"] for tag, attrs in found.tags if tag == "img"] == [evil]
    data = "".join(found.data)
    quoted = shlex.quote(evil)  # in three commands a subnet: of the weights and of the subnet
    once = data.replace(quoted, "")
    assert data.count(quoted) == 6 * len(rows)
    # title and heading, 5 of the search, a row a subnet, caption, command, date, commit, version, machine
    assert once.count(evil) == 2 + 5 + len(rows) + 1 + 3 + 2 + 2


def test_int8_stands_beside_float32_and_the_chosen_networks_files_are_linked(made):
    record, page = made
    assert "int8" not in page and "The chosen network" not in page
    rows = [{**row, "float32_bytes": 2_000_000, "int8_bytes": 600_000, "int8_top1": row["top1"] - 0.2,
             "int8_valid_top1": row["valid_top1"] - 0.1} for row in record["results"]]
    setting = {"runtime": "onnxruntime", "kernels": "onnxruntime 1.19.2", "precision": "int8", "threads": 2,
               "processor": "a CPU"}
    asked = {**record["search"], "int8": {"calibrate": "minmax", "images": 64}, "latency_table": "t.json",
             "latency_setting": setting}
    files = {"int8 ONNX": {"path": "a & b#1.onnx", "bytes": 600_000},
             "weights": {"path": "javascript:alert(1)", "bytes": 10}}
    page = report.page({**record, "results": rows, "search": asked, "files": files}, {})
    row = rows[0]
    assert "Top-1, held-out, float32 / int8" in page and "2.00 MB / 600 kB" in page
    assert f"{row['valid_top1']:.2%} / {row['int8_valid_top1']:.2%}" in page
    assert f"{row['top1']:.2%} / {row['int8_top1']:.2%}" in page
    assert "onnxruntime 1.19.2, int8, 2 threads of a CPU" in page
    assert "--int8 --calibrate minmax --calibration-images 64" in page
    assert re.findall(r'<a href="([^"]*)">', page) == ["a%20%26%20b%231.onnx", "javascript%3Aalert%281%29"]


def test_latency_has_a_column_where_it_was_measured(made):
    record = dict(made[0], results=[dict(row, latency_ms=1.234) for row in made[0]["results"]])
    page = report.page(record, {})
    assert "<th>Latency, ms</th>" in page and "<td>1.23</td>" in page


def browser():
    """The path of a Chromium; skips where there is none."""
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no Chromium here (Debian: apt-get install chromium-headless-shell)")


PROBE = """<script>onload = () => {
  const pictures = [...document.images].filter(i => i.complete && i.naturalWidth > 100).length;
  const fetched = performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:"));
  document.title = `pictures ${pictures}, rows ${document.querySelectorAll("tr").length}, ` +
    `fetched ${fetched.length}, too wide ${document.body.scrollWidth > innerWidth}`;
}</script>"""


def opened(page, tmp_path):
    """The page's title after a browser has loaded it with PROBE before all else in its head."""
    assert page.count("<head>") == 1
    path = tmp_path / "search.html"
    path.write_text(page.replace("<head>", f"<head>{PROBE}"))
    command = [browser(), "--headless", "--disable-gpu", "--window-size=1100,900", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(command + ["--no-sandbox"] * (os.geteuid() == 0), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    return title[1]


def test_a_browser_shows_all_of_it_and_fetches_nothing(made, tmp_path):
    record, page = made
    assert opened(page, tmp_path) == (
        f"pictures 2, rows {len(record['results']) + 1}, fetched 0, too wide false")


def test_its_policy_keeps_a_browser_from_fetching_what_is_elsewhere(made, tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        image = f'<img src="http://127.0.0.1:{server.server_port}/x.png">'
        page = made[1].replace("</body>", f"{image}</body>")
        opened(page, tmp_path)
        assert asked == []
        opened(re.sub(r"<meta http-equiv.*?>", "", page, flags=re.DOTALL), tmp_path)
        assert asked == ["/x.png"]  # without it the browser does ask
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- pictures and the page of a comparison -----------------------------------------------------------

def test_pictures_show_what_they_are_given():
    lines, dots = {"front": [[(2e6, 0.5), (3e6, 0.7)]]}, {"random": [(4e6, 0.4)]}
    figure = front_figure(lines, dots, "macs", "test")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["front"].get_xdata()) == [2, 3] and list(lines["random"].get_ydata()) == [0.4]
    assert figure.axes[0].get_xlabel() == "MACs (millions)"
    image, = choices_figure([["a", "x"], ["a", "y"]], [["a", "b"], ["x", "y"]]).axes[0].images
    counts = np.ma.filled(image.get_array(), -1)
    assert counts.tolist() == [[2, -1], [0, -1], [-1, 1], [-1, 1]]


def compared():
    def row(method, seed, macs, valid_top1, top1):
        return {"method": method, "search_seed": seed, "macs": macs, "valid_top1": valid_top1, "top1": top1,
                "images": 359}
    rows = [row("nsga2", 0, 10, 0.8, 0.7), row("nsga2", 0, 15, 0.9, 0.8), row("nsga2", 1, 10, 0.9, 0.9),
            row("random", 0, 15, 0.8, 0.8), row("random", 1, 15, 0.7, 0.6),
            row("validated", None, 20, 0.6, 0.5), row("validated", None, 15, 0.6, 0.9)]
    asked = {"objective": "macs", "cost_range": [10, 20], "count": 100, "image_size": 28,
             "evaluated": 402, "evaluated_before": 0, "held_out_images": 144}
    return dict(RUN, kind="benchmark", name="search", command="python benchmarks/search.py", results=rows,
                search=asked)


def test_hypervolume_is_the_area_that_is_dominated():
    assert comparison.hypervolume([(10, 1.0)], (10, 1.0), (20, 0.5)) == 1
    assert comparison.hypervolume([(20, 1.0), (10, 0.5), (25, 2.0)], (10, 1.0), (20, 0.5)) == 0
    steps = [(12, 0.6), (15, 0.9), (16, 0.8)]  # the last is behind the second
    assert comparison.hypervolume(steps, (10, 1.0), (20, 0.5)) == pytest.approx((3 * 0.1 + 5 * 0.4) / 5)
    volumes = comparison.hypervolumes(compared(), "valid_top1")
    assert volumes["nsga2", 0] == pytest.approx((5 * 0.2 + 5 * 0.3) / 4)
    assert volumes["validated", None] == 0


def test_page_of_a_comparison_says_what_its_rows_say():
    record = compared()
    assert [row["macs"] for row in comparison.fronts(record)["validated", None]] == [15]
    by_hand = [row for row in record["results"] if row["method"] == "validated"]
    own = comparison.fronts(record)["nsga2", 0]
    assert comparison.beaten(own, by_hand, "macs", "valid_top1") == 1
    assert comparison.beaten(own, by_hand, "macs", "top1") == 0.5
    assert comparison.wins(record, "valid_top1") == [True, True]
    page = comparison.pages([record])["search.md"]
    assert "larger hypervolume than random search's in 2 of 2 seeds on the held-out" in page
    assert "100 ± 0%" in page and comparison.picture(record) in page
    assert "had been evaluated" not in page
    rows = [{"top1": 0.8}, {"top1": 1.0}]
    assert comparison.standard_error(rows, "top1", 900) == pytest.approx((0.9 * 0.1 / 900) ** 0.5)
    record["search"]["evaluated_before"] = 40
    assert "40 of the 402 different subnets had been evaluated" in comparison.pages([record])["search.md"]
    assert comparison.pages([dict(record, name="other")]) == {}
    pages = index.whole([record], [comparison])
    assert "hand-made subnets](search.md) | `python benchmarks/search.py" in pages["README.md"]
    assert f"]({comparison.picture(record)})" in pages["README.md"]
    assert pages["search.md"].startswith(comparison.pages([record])["search.md"])
    assert list(comparison.figures([record])) == [comparison.picture(record)]
