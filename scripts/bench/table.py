"""The results as Markdown: one table for each section, ratios to the best peer under the same setting."""


def is_ours(row):
    return row["system"].startswith("runchain")


def is_peer(row):
    return not is_ours(row) and "floor" not in row["system"]


def first(row):
    return next(iter(row["figure"].values()))


def ratio(row, rows):
    """Ours by the best peer's; more is better where more is better, as in the figures themselves.

    Who has nothing to settle loses jobs in a crash; it stands beside the best of the others, not in its place.
    """
    if not is_ours(row):
        return ""
    if first(row) <= 0:
        return "less than can be measured"
    peers = [other for other in rows if "figure" in other and is_peer(other) and same_setting(row, other)]
    loses = [other for other in peers if "nothing to settle" in other["system"]]
    keeps = [other for other in peers if other not in loses]
    best = min if row["lower_is_better"] else max
    cells = [best(group, key=first) for group in (keeps, loses) if group]
    return "; ".join(f"{first(row) / first(peer):.2f} x {peer['system']}" for peer in cells) or "no peer"


def same_setting(row, other):
    return all(row[key] == other[key] for key in ("section", "measure", "journal", "synchronous"))


def number(value):
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(name, meta, rows):
    lines = [
        f"# {name.capitalize()}: measured figures", "",
        f"{meta['date']}, commit {meta['commit']}, {meta['cpus']} CPUs ({meta['cpu']}), Linux {meta['kernel']}, "
        f"{'a quick run' if meta['quick'] else 'a full run'}, load before it {meta['load_1m']:.2f}. "
        "The ratio is ours by the best peer's in the same run under the same setting: "
        "above 1 is better for rates, below 1 for latencies and costs. "
        "fdatasync is the latency of the disk itself (p50 / p99), measured before and after the section.",
    ]
    for section in dict.fromkeys(row["section"] for row in rows):
        lines += ["", f"## {section}", "",
                  "| what | system | journal / synchronous | figure | samples | ratio | disk, fdatasync |",
                  "| --- | --- | --- | --- | --- | --- | --- |"]
        lines += [line(row, rows) for row in rows if row["section"] == section]
        notes = [f"- {row['system']}, {row['measure']}, {row['journal']}/{row['synchronous']}: {row['note']}"
                 for row in rows if row["section"] == section and row.get("note")]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def line(row, rows):
    disk = f"{row['file_system']}, {row['fdatasync_ms']['p50']:.2f} / {row['fdatasync_ms']['p99']:.2f} ms"
    if "missing" in row:
        cells = [row["measure"], row["system"], "", f"not measured: {row['missing']}", "", "", disk]
    else:
        figures = ", ".join(f"{name} {number(value)}" for name, value in row["figure"].items())
        cells = [row["measure"], row["system"], f"{row['journal']} / {row['synchronous']}",
                 f"{figures} {row['unit']}", f"{row['samples']:,}", ratio(row, rows), disk]
    return "| " + " | ".join(cells) + " |"
