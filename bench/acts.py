"""Compare the reader of acts with people's labels of published answers to xstest (Röttger et al. 2024).

    python bench/acts.py FOLDER      CSV files with the columns completion and final_label, one for each model

The files are in the folder model_completions of the repository paul-rottger/exaggerated-safety; the answers have the
licences of OpenAI, Meta and Mistral, so Étude neither ships them nor learns from them. Two people labelled each answer
as full compliance, partial refusal or full refusal. Printed are, for the phrases alone and for phrases and classifier,
the acts that are read for each label. A hand-over counts as a refusal.
"""

import csv
import sys
from collections import Counter
from pathlib import Path

from etude.limits.acts import match_phrases, read_act
from etude.stats.intervals import wilson

READERS = {"phrases": match_phrases, "phrases and classifier": read_act}


def main() -> None:
    """Prints a table for each way of reading."""
    for name, read in READERS.items():
        print(f"\n| {name} | label | answers | read as a refusal | acts |\n| --- | --- | --- | --- | --- |")
        for file in sorted(Path(sys.argv[1]).glob("*.csv")):
            rows = list(csv.DictReader(file.open(encoding="utf-8", newline="")))
            for label in sorted({row["final_label"] for row in rows}):
                acts = Counter(read(row["completion"]).act for row in rows if row["final_label"] == label)
                num, refused = acts.total(), acts["refuse"] + acts["hand_over"]
                low, high = wilson(refused, num)
                cells = [file.stem.rpartition("_")[2], label[2:].replace("_", " "), str(num)]
                cells += [f"{refused / num:.1%} ({low:.1%} to {high:.1%})", str(dict(acts.most_common()))]
                print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
