"""``calibrate``: from tables to a calibration, and what is said of tables that do not fit."""

import json

import numpy as np
import pytest

from napari_camelyon.staging import NODE_CLASSES, read_calibration

HEADER = "node,true,p_negative,p_itc,p_micro,p_macro"


def node_table(path, patients=30):
    rng = np.random.default_rng(8)
    rows = [HEADER]
    for number in range(5 * patients):
        p = rng.dirichlet([0.3] * 4).round(4)
        p[3] = 1 - p[:3].sum()
        kind = NODE_CLASSES[rng.choice(4, p=np.maximum(p, 0) / np.maximum(p, 0).sum())]
        name = f"patient_{number // 5:03}_node_{number % 5}"
        rows.append(f"{name},{kind},{','.join(f'{max(value, 0):.4f}' for value in p)}")
    path.write_text("\n".join(rows))
    return path


def test_nodes_and_patients_are_calibrated(command, tmp_path):
    out = tmp_path / "c.json"
    result = command("calibrate", "nodes", node_table(tmp_path / "t.csv"), "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "150 nodes, 30 whole patients; coverage 90%." in result.stdout
    assert "It holds for cases like these" in result.stdout
    fitted = read_calibration(out)
    assert (fitted.nodes, fitted.patients, fitted.coverage) == (150, 30, 0.9)
    assert set(json.loads(out.read_text())["scores"]) == {
        "ECE before",
        "ECE after",
        "Brier before",
        "Brier after",
    }


def test_patches_are_told_their_temperature(command, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("probability,label\n" + "0.9,1\n0.9,0\n0.1,0\n0.1,0\n" * 20)
    result = command("calibrate", "patches", table)
    assert result.exit_code == 0
    assert "80 patches, 20 of them tumour." in result.stdout
    assert "too sure" in result.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node,true\na,itc", "no column p_negative"),
        (f"{HEADER}\na,huge,1,0,0,0", "'huge'"),
        (f"{HEADER}\na,itc,1,0,0,x", "Line 2"),
        (f"{HEADER}\na,itc,1,0,0,1", "sum to 2"),
        (f"{HEADER}\na,itc,1,0,0,0\na,itc,1,0,0,0", "second time"),
        (HEADER, "no node"),
    ],
)
def test_tables_that_do_not_fit_are_named(command, tmp_path, text, message):
    table = tmp_path / "t.csv"
    table.write_text(text)
    result = command("calibrate", "nodes", table, "--out", tmp_path / "c.json")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "c.json").exists()
