"""Write tests/interop/oracle_logits.npz: what transformers 4.46.3 makes of every case in oracle_logits_cases.py.

Small rows are stored as processed, with NaN for a case in which transformers fails. Of large rows the kept ids are
stored as bits, and a fingerprint of all values. The distributions that sampling is tested against come last.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from oracle_logits import transform
from oracle_logits_cases import Case, cases, digest, distribution_cases, large_rows, small_rows

OUTPUT = Path(__file__).resolve().parents[1] / "interop" / "oracle_logits.npz"


def main() -> None:
    """Run every case."""
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    stored = {"versions": np.array(versions)}
    for name, rows in small_rows().items():
        stored[f"input {name}"] = np.array(digest(rows))
        stored[f"output {name}"] = np.stack([processed(case) for case in cases(name, rows)])
    for name, rows in large_rows().items():
        results = np.concatenate([processed(case) for case in cases(name, rows)])
        stored[f"input {name}"] = np.array(digest(rows))
        stored[f"output {name}"] = np.array([digest(result) for result in results])
        stored[f"kept {name}"] = np.packbits(results > -np.inf, axis=1)
    drawn = np.concatenate([processed(case) for case in distribution_cases()])
    stored["input distribution"] = np.array(digest(distribution_cases()[0].rows))
    stored["distribution"] = torch.from_numpy(drawn).softmax(dim=1).numpy()
    np.savez_compressed(OUTPUT, **stored)


def processed(case: Case) -> np.ndarray:
    """The rows as transformers processes them, which makes NaN of a forbidden EOS and of an empty row."""
    prompt, new = case.ids()
    rows = torch.from_numpy(case.rows)
    try:
        return transform(rows, case.options, prompt, new, case.eos_ids, with_beams=case.with_beams).numpy()
    except ValueError as error:
        if "nan" not in str(error):
            raise
        return np.full_like(case.rows, np.nan)


if __name__ == "__main__":
    main()
