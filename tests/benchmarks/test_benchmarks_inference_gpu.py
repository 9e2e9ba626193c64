"""The GPU benchmark: says so without a GPU, and measures what it says on any device."""

import sys

import pytest
import torch


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(sys, "argv", ["inference_gpu.py"])
    from inference_gpu import main

    main()
    assert capsys.readouterr().out == "no GPU here\n"


def test_it_prints_one_table_with_each_way_and_its_share(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_CAMELYON_CACHE", str(tmp_path))
    options = "--device cpu --precision fp32 --engines torch nonsense --batch 2 --threads 1"
    options += " --rounds 1 --seconds 0.01 --side-px 1024"
    monkeypatch.setattr(sys, "argv", ["inference_gpu.py", *options.split()])
    from inference_gpu import main

    main()
    lines = capsys.readouterr().out.strip().splitlines()
    rows = [line for line in lines if line.startswith(("network alone", "torch fp32 on cpu"))]
    assert [row.split("  ")[0] for row in rows] == [
        "network alone",
        "torch fp32 on cpu: patches in memory",
        "torch fp32 on cpu: reading alone",
        "torch fp32 on cpu: whole run",
        "torch fp32 on cpu: whole run through OpenSlide",
    ]
    assert "% of the network alone" in rows[1]
    assert "% of the lower limit" in rows[3]
    assert "times as many" in rows[4]
    assert any(line.startswith("nonsense: The engine 'nonsense'") for line in lines)
