"""What was measured, for people (terminal, Markdown) and for programs (JSON)."""

import json
import os
import statistics
from dataclasses import asdict

from measure import median_of

COMPARED = ["what", "rows", "against", "time", "peer's time", "ratio", "spread", "memory", "peer's memory", "on disk",
            "peer's on disk"]
SINGLE = ["what", "measured", "aim", "", ""]
# Columns that are text; the others are numbers and stand to the right.
LEFT = {"what", "against", "aim", ""}

READING = ("Ratio: Polder's time over the peer's, the median of {pairs} pairs run alternately; below 1 Polder is ahead. "
           "Times are medians, the spread is the smallest and the greatest ratio. Rows and sums were equal in every pair.")


def compared_row(done):
    ratios = done.ratios
    cells = [done.what, f"{done.rows:,}", done.peer]
    cells += [f"{median_of(samples, 'seconds'):.2f} s" for samples in (done.ours, done.theirs)]
    cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}"]
    for name in ("peak_bytes", "written_bytes"):
        cells += [megabytes(median_of(samples, name)) for samples in (done.ours, done.theirs)]
    return cells


def megabytes(size):
    return f"{size / 1e6:,.{1 if size < 20e6 else 0}f} MB"


def single_row(figure):
    reached = {None: "", True: "reached", False: "MISSED"}[figure.reached]
    return [figure.what, figure.value, figure.aim, reached, figure.note]


def as_text(head, rows):
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows)]
    def line(cells):
        padded = (c.ljust(w) if h in LEFT else c.rjust(w) for c, w, h in zip(cells, widths, head))
        return "  ".join(padded).rstrip()

    return "\n".join(line(cells) for cells in [head, *rows])


def as_markdown(head, rows):
    rule = [":--" if h in LEFT else "--:" for h in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


class Report:
    def __init__(self, about, pairs):
        self.about = about
        self.pairs = pairs
        self.comparisons = []
        self.figures = []
        self.failed = []
        self.left_out = []

    def machine_lines(self):
        machine, versions = self.about["machine"], self.about["versions"]
        there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        return [
            f"{self.about['polder']}; {self.about['orders']:,} orders",
            f"{machine['cores']} cores ({machine['processor']}), {machine['memory_bytes'] / 1e9:.1f} GB, "
            f"{machine['system']}, load {machine['load']:.1f} at the start",
            f"Peers: {there}",
        ]

    def render(self, table, heading, line_break):
        parts = [line_break.join(self.machine_lines())]
        if self.comparisons:
            parts += [table(COMPARED, [compared_row(done) for done in self.comparisons]),
                      READING.format(pairs=self.pairs)]
        if self.figures:
            parts.append(table(SINGLE, [single_row(figure) for figure in self.figures]))
        for title, texts in (("Not measured", self.failed), ("Left out", self.left_out)):
            if texts:
                parts.append("\n".join([heading(title), *(f"- {text}" for text in texts)]))
        return "\n\n".join(parts) + "\n"

    def text(self):
        return self.render(as_text, lambda title: f"{title}:", "\n")

    def markdown(self):
        return "# Polder beside its peers\n\n" + self.render(as_markdown, lambda title: f"## {title}\n", "  \n")

    def json(self):
        comparisons = [{
            "what": done.what, "rows": done.rows, "peer": done.peer, "ratio": statistics.median(done.ratios),
            "ratios": done.ratios, "polder": [asdict(s) for s in done.ours], "theirs": [asdict(s) for s in done.theirs],
        } for done in self.comparisons]
        return {**self.about, "pairs": self.pairs, "comparisons": comparisons,
                "figures": [asdict(figure) for figure in self.figures], "not_measured": self.failed,
                "left_out": self.left_out}

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "results.md"), "w", encoding="utf-8") as f:
            f.write(self.markdown())
        with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as f:
            json.dump(self.json(), f, indent=1, default=str)
            f.write("\n")
