from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_shufflenet.errors import PackageError
from tvm_shufflenet.manifest import (
    Input,
    Kernel,
    Labels,
    Library,
    Manifest,
    Output,
    Preprocessing,
    TuningLog,
    Weights,
    parse_manifest,
)

SHA = "ab" * 32

MANIFEST = Manifest(
    model="shufflenet_v1_g3_x1.0",
    input=Input(
        name="input",
        shape=(1, 3, 224, 224),
        dtype="float32",
        preprocessing=Preprocessing(resize=256, crop=(224, 224)),
    ),
    output=Output(name="output", shape=(1, 1000), dtype="float32"),
    board="rpi4b",
    target="llvm -keys=arm_cpu,cpu",
    arch="aarch64",
    cpu_features=("asimd",),
    glibc="2.28",
    tvm_version="0.19.0",
    passes=("FoldBatchNorm",),
    tuning_log=TuningLog(name="x1.autotvm.json", sha256=SHA),
    kernels=(Kernel(name="k0", op="nn.conv2d", record="grouped_pointwise 3"),),
    libraries=(Library(batch=1, file="model.so", sha256=SHA, size_bytes=10),),
    labels=Labels(file="labels.txt", sha256=SHA),
    multiply_adds=137_500_000,
    parameters=1_900_000,
    weights=Weights(source="random", seed=0),
    threads=4,
    core_mask=(0, 1, 2, 3),
)
TEXT = MANIFEST.to_text()


def altered(change: Any) -> bytes:
    """The manifest's text after `change` was made to its fields, and no new digest."""
    fields = json.loads(TEXT)
    change(fields)
    return json.dumps(fields).encode()


def test_a_manifest_reads_back_equal() -> None:
    assert parse_manifest(TEXT.encode()) == MANIFEST


def test_the_same_fields_give_the_same_text() -> None:
    assert dataclasses.replace(MANIFEST).to_text() == TEXT
    whole = dataclasses.replace(MANIFEST.input.preprocessing, mean=(0, 0, 0), scale=1)
    spelled = dataclasses.replace(MANIFEST.input.preprocessing, mean=(0.0, 0.0, 0.0), scale=1.0)
    assert repr(whole) == repr(spelled)


def test_nothing_in_a_manifest_depends_on_the_time() -> None:
    assert not {"date", "time", "created"} & set(json.loads(TEXT))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("arch"), "manifest.json.arch is missing"),
        (lambda m: m.update(colour=1), "manifest.json.colour is not a field"),
        (lambda m: m.update(thread=1), "did you mean 'threads'?"),
        (lambda m: m.update(threads=True), "threads must be an integer, not true or false"),
        (lambda m: m.update(threads="4"), "threads must be an integer, not text ('4')"),
        (lambda m: m.update(threads=4.0), "threads must be an integer, not a number"),
        (lambda m: m.update(threads=None), "threads must be an integer, not null"),
        (lambda m: m.update(threads=0), "threads must be from 1 to 1024"),
        (lambda m: m.update(threads=2**60), "threads is too large"),
        (lambda m: m.update(model=3), "model must be text, not an integer"),
        (lambda m: m.update(model="a\x1b[31m"), "model has characters that cannot be printed"),
        (lambda m: m.update(model="\ud800"), "model has characters that cannot be printed"),
        (lambda m: m.update(passes="FoldConstant"), "passes must be a list, not text"),
        (lambda m: m.update(passes=[1]), "passes[0] must be text"),
        (lambda m: m.update(kernels=[None]), "kernels[0] must be an object, not null"),
        (lambda m: m["kernels"][0].pop("record"), "kernels[0].record is missing"),
        (lambda m: m.update(input=[]), "input must be an object, not a list"),
        (lambda m: m["input"].update(shape=[1, 3, 224]), "input.shape must be [n, 3, height"),
        (lambda m: m["input"].update(shape=[1, 1, 224, 224]), "input.shape must be"),
        (lambda m: m["input"].update(shape=[2, 3, 224, 224]), "for a batch of 1"),
        (lambda m: m["input"].update(shape=[1, 3, 224, -1]), "input.shape must be"),
        (lambda m: m["input"].update(dtype="float16"), "input.dtype must be float32"),
        (lambda m: m["output"].update(shape=[1]), "output.shape must be [n, classes]"),
        (lambda m: m["input"]["preprocessing"].update(resize=None), "null exactly when crop"),
        (lambda m: m["input"]["preprocessing"].update(resize=100), "at least the crop"),
        (lambda m: m["input"]["preprocessing"].update(crop=[8, 8]), "crop must be the input's"),
        (lambda m: m["input"]["preprocessing"].update(std=[1, 1, 0]), "three positive numbers"),
        (lambda m: m["input"]["preprocessing"].update(mean=[1e300] * 3), "mean[0] is too large"),
        (lambda m: m["input"]["preprocessing"].update(channel_order="GBR"), "RGB or BGR"),
        (lambda m: m.update(arch="mips"), "arch must be one of aarch64, armv7, x86-64"),
        (lambda m: m.update(glibc="new"), "glibc must be a version"),
        (lambda m: m.update(libraries=[]), "at least one library"),
        (lambda m: m["libraries"].append(m["libraries"][0]), "different in each library"),
        (lambda m: m["libraries"][0].update(file="../model.so"), "a plain file name"),
        (lambda m: m["libraries"][0].update(file="/tmp/model.so"), "a plain file name"),
        (lambda m: m["libraries"][0].update(file="manifest.json"), "another file's name"),
        (lambda m: m["libraries"][0].update(sha256="AB" * 32), "64 lower-case hex digits"),
        (lambda m: m["libraries"][0].update(size_bytes=0), "a size under 2 GiB"),
        (lambda m: m["labels"].update(file="model.so"), "different in each library"),
        (lambda m: m.update(core_mask=[1, 1]), "a list of different cores"),
        (lambda m: m.update(schema_version=2), "schema_version is 2"),
        (lambda m: m.update(schema_version=True), "schema_version is True"),
        (lambda m: m.update(digest="0" * 64), "was altered"),
        (lambda m: m.update(model="another"), "was altered"),
    ],
)
def test_a_wrong_field_is_named(change: Any, words: str) -> None:
    with pytest.raises(PackageError) as caught:
        parse_manifest(altered(change))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must hold a JSON object"),
        (b'"a"', "must hold a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b" " * (1 << 21), "larger than"),
        (TEXT.replace('"threads": 4', '"threads": NaN').encode(), "NaN is not a number"),
        (TEXT.replace('"threads": 4', '"threads": 4, "threads": 4').encode(), "given twice"),
        (TEXT.replace('"threads": 4', '"threads":  4').encode(), "was altered"),
        (TEXT.encode() + b"\n", "was altered"),
        (TEXT.encode()[:-2], "not valid JSON"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(PackageError) as caught:
        parse_manifest(text)
    assert words in str(caught.value)


def test_a_manifest_cannot_be_made_wrong_either() -> None:
    with pytest.raises(PackageError, match="threads"):
        dataclasses.replace(MANIFEST, threads=0)
    with pytest.raises(PackageError, match="std"):
        Preprocessing(resize=None, crop=None, std=(1.0, 1.0, math.nan))


@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(0, 7))
def test_no_flipped_bit_passes(place: int, bit: int) -> None:
    damaged = bytearray(TEXT.encode())
    damaged[place] ^= 1 << bit
    with pytest.raises(PackageError):
        parse_manifest(bytes(damaged))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
PATHS = [
    (*outer, key)
    for outer, fields in (
        ((), json.loads(TEXT)),
        (("input",), json.loads(TEXT)["input"]),
        (("input", "preprocessing"), json.loads(TEXT)["input"]["preprocessing"]),
        (("libraries", 0), json.loads(TEXT)["libraries"][0]),
        (("weights",), json.loads(TEXT)["weights"]),
    )
    for key in fields
]


@given(st.sampled_from(PATHS), VALUES)
def test_any_other_json_in_any_field_is_refused(path: tuple[Any, ...], value: Any) -> None:
    fields = json.loads(TEXT)
    holder = fields
    for step in path[:-1]:
        holder = holder[step]
    before = holder[path[-1]]
    holder[path[-1]] = value
    if value == before and type(value) is type(before):
        return
    with pytest.raises(PackageError):
        parse_manifest((json.dumps(fields, indent=2) + "\n").encode())


def test_untrained_weights_are_known_by_their_source() -> None:
    assert Weights(source="random", seed=0).untrained
    assert not Weights(source="megvii.pth", sha256=SHA).untrained
