#!/usr/bin/env bash
# guessed:  A JSON string of a JSON Lines file is a text in the data set that is loaded from it, or at least where the caller
#           says by `features` that the column is a text.
# is so:    A column whose strings are all ISO dates becomes `timestamp[s]`. With `features` that say "string" it is read as
#           dates first and printed again: "2026-11-30" becomes "2026-11-30 00:00:00". Neither warns. A Parquet file with a
#           column of strings keeps them.
# versions: datasets 5.2.0, pyarrow 26.0.1, pandas 3.1.1
# meets it: Who trains or evaluates on exported examples whose right answers are dates: no answer of a model equals the target.
# instead:  Hand dates to `datasets` as Parquet.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1

cat >finding.py <<'PY'
import json, sys
import pyarrow, pyarrow.parquet
from datasets import Features, Value, disable_progress_bars, load_dataset

disable_progress_bars()
rows = [{"input": "When?", "target": "2026-11-30"}, {"input": "And then?", "target": "2026-12-01"}]
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "rows.parquet")

def first_target(kind, file, **more):
    loaded = load_dataset(kind, data_files=file, split="train", cache_dir="cache", **more)
    return loaded.features["target"].dtype, str(loaded[0]["target"])

seen = {
    "JSON Lines": first_target("json", "rows.jsonl"),
    "JSON Lines, features say string": first_target(
        "json", "rows.jsonl", features=Features({"input": Value("string"), "target": Value("string")})
    ),
    "Parquet": first_target("parquet", "rows.parquet"),
}
print(f"written: {rows[0]['target']}")
for what, (dtype, value) in seen.items():
    print(f"{what}: {dtype}, {value}")
sys.exit(list(seen.values()) != [
    ("timestamp[s]", "2026-11-30 00:00:00"),
    ("string", "2026-11-30 00:00:00"),
    ("string", "2026-11-30"),
])
PY
HF_HUB_OFFLINE=1 HF_HOME=$work/home python/bin/python finding.py
