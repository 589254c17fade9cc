"""Hostile bundles with a fault outside their models: names, files, the manifest, the configuration, the tokenizer."""

import os
import stat
from base64 import b64encode

from tests.hostile.damage import (
    MODEL,
    Cases,
    config,
    deep,
    edited,
    entry,
    gates_of_default,
    huge_models,
    inserted,
    listed,
    manifest,
    raw_manifest,
    replaced,
    rewrite,
    set_keys,
    swap_labels,
    tokenizer,
    tokenizer_config,
    unsealed,
    variant,
    windows,
    written,
)

BAD_NAMES = (
    "/etc/passwd", "../config.json", "./config.json", "onnx/../../model.onnx", "onnx//model.onnx", "onnx\\model.onnx",
    "C:/model.onnx", "config.json\0.txt", "config.json\n", "config.json ", "Config.json", "onnx/Model.onnx",
    "\uff43onfig.json", "onnx/mode\u0301l.onnx", "\u202egpj.json", "onnx/.onnx", "model.onnx", "",
)  # fmt: skip
NAMES: Cases = {f"the name {name!a}": (listed(name), "cannot be in a bundle") for name in BAD_NAMES} | {
    "code": (listed("modeling_bert.py", b"import os"), "'modeling_bert.py' cannot be in a bundle"),
    "a pickle": (listed("pytorch_model.bin", b"\x80\x04."), "'pytorch_model.bin' cannot be in a bundle"),
    "weights beside the model": (listed("onnx/model.onnx.data", b"1"), "'onnx/model.onnx.data' cannot be in a bundle"),
    "a model without a variant": (listed("onnx/more.onnx", b"1"), "the ONNX files listed are .*onnx/more.onnx"),
    "a variant outside": (
        manifest(lambda content: content["variants"]["fp32"].update(file="/etc/passwd")),
        "the variants are in /etc/passwd",
    ),
    "a variant above": (
        manifest(lambda content: content["variants"]["fp32"].update(file="../model.onnx")),
        "the variants are in ../model.onnx",
    ),
    "two variants of one file": (
        manifest(lambda content: content["variants"].update(more=content["variants"]["fp32"])),
        "the variants are in onnx/model.onnx, onnx/model.onnx",
    ),
}

FILES: Cases = {
    "a symbolic link": (
        replaced("config.json", lambda path: path.symlink_to("../elsewhere")),
        "config.json is a symb",
    ),
    "a symbolic link to a model": (
        replaced(MODEL, lambda path: path.symlink_to("../../elsewhere")),
        "onnx is a symb",
    ),
    "a symbolic link to nothing": (lambda path: (path / "more").symlink_to("nowhere"), "more is a symbolic link"),
    "a linked directory": (
        replaced("onnx", lambda path: path.symlink_to("../elsewhere")),
        "onnx is a symbolic link",
    ),
    "a linked manifest": (
        replaced("bundle.json", lambda path: path.symlink_to("../elsewhere")),
        "is a symbolic link",
    ),
    "a hard link": (
        lambda path: (path.parent / "twin").hardlink_to(path / "tokenizer.json"),
        "tokenizer.json is a hard",
    ),
    "a hard link to a model": (lambda path: (path.parent / "twin").hardlink_to(path / MODEL), "model.onnx is a hard"),
    "a pipe": (replaced("config.json", os.mkfifo), "config.json is not a plain file"),
    "a manifest that is a pipe": (replaced("bundle.json", os.mkfifo), "bundle.json is not a plain file"),
    "a socket": (
        replaced("README.md", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
        "README.md is not a plain",
    ),
    "a directory for a file": (
        replaced("tokenizer.json", lambda path: path.mkdir()),
        "tokenizer.json is a directory",
    ),
    "a file for a directory": (replaced("onnx", lambda path: path.write_bytes(b"")), "onnx cannot be read"),
    "an extra directory": (lambda path: (path / "__pycache__").mkdir(), "__pycache__ is a directory"),
    "a directory among the models": (lambda path: (path / "onnx/onnx").mkdir(), "onnx/onnx is a directory"),
    "a file that is not listed": (lambda path: (path / "code.py").write_text("1"), "code.py is not listed"),
    "a hidden file": (lambda path: (path / "onnx/.model.onnx").write_text("1"), "onnx/.model.onnx is not listed"),
    "thousands of files": (lambda path: [(path / f"{n}").touch() for n in range(2000)], "holds more than 64 files"),
    "a missing file": (lambda path: (path / MODEL).unlink(), "model.onnx is missing"),
    "a shorter file": (lambda path: os.truncate(path / MODEL, 1000), "model.onnx is not the file .*1,000 bytes"),
    "other bytes": (
        lambda path: (path / MODEL).write_bytes(bytes((path / MODEL).stat().st_size)),
        "its sha256 differs",
    ),
    "a manifest of 16 GiB": (lambda path: os.truncate(path / "bundle.json", 1 << 34), "has 17,179,869,184 bytes"),
}

MANIFEST: Cases = {
    "deep JSON": (raw_manifest("[" * 90_000), "deeper than 32 levels"),
    "deep JSON in objects": (raw_manifest('{"a":' * 90_000), "deeper than 32 levels"),
    "a deep value": (set_keys(training={"deep": deep(50)}), "deeper than 32 levels"),
    "a key that comes twice": (inserted('"labels": ["a", "b"],'), "the key 'labels' comes twice"),
    "a key that comes twice below": (inserted('"training": {"a": 1, "a": 2},'), "the key 'a' comes twice"),
    "NaN": (inserted('"more": NaN,'), "NaN is not a JSON number"),
    "an infinite number": (inserted('"more": 1e999,'), "is out of range"),
    "a number of 9,000 digits": (inserted(f'"max_tokens": {"9" * 9000},'), "cannot be read as JSON"),
    "another encoding": (lambda path: rewrite(path, "utf-16"), "bundle.json is text in UTF-16"),
    "bytes that are not UTF-8": (raw_manifest(b'{"a": "\xff"}'), "cannot be read as JSON"),
    "a lone surrogate": (inserted('"more": {"\\ud800": "1"},'), "surrogates not allowed"),
    "a list": (raw_manifest("[]"), "holds list, not a JSON object"),
    "nothing": (raw_manifest(""), "bundle.json is empty. Export the bundle again"),
    "another format": (set_keys(format_version=2), "format_version is 2"),
    "true for a format": (set_keys(format_version=True), "format_version is True"),
    "a format as text": (set_keys(format_version="1"), "format_version is '1'"),
    "an unknown key": (set_keys(auto_map={}), "auto_map: Extra inputs are not permitted"),
    "a missing key": (manifest(lambda content: content.pop("steps")), "steps: Field required"),
    "a null": (set_keys(labels=None), "labels: Input should be a valid"),
    "no labels": (set_keys(labels=[]), "labels: .* at least 1 item"),
    "a thousand labels and one": (
        set_keys(labels=[f"label {n}" for n in range(1001)]),
        "labels: .* at most 1000 items",
    ),
    "a label twice": (set_keys(labels=["a", "a", "b"]), "a label comes twice"),
    "an empty label": (set_keys(labels=["a", "", "b"]), "'' cannot be a label"),
    "a label of two lines": (set_keys(labels=["a", "b\nc", "d"]), r"'b\\nc' cannot be a label"),
    "a label with a terminal control": (set_keys(labels=["a", "\x1b[2J", "d"]), r"'\\x1b\[2J' cannot be a label"),
    "a long label": (set_keys(labels=["a", "b" * 10_000, "d"]), "cannot be a label"),
    "a label that is not a text": (set_keys(labels=["a", 1, "d"]), "labels.1: Input should be a valid string"),
    "labels in another order": (manifest(lambda content: content["labels"].reverse()), "id2label is .* not"),
    "no tokens": (set_keys(max_tokens=0), "max_tokens: Input should be greater"),
    "a negative number of tokens": (set_keys(max_tokens=-1), "max_tokens: Input should be greater"),
    "a huge number of tokens": (set_keys(max_tokens=10**9), "max_tokens: Input should be less"),
    "more tokens than positions": (set_keys(max_tokens=4096), "max_position_embeddings is 64, but max_tokens is 4096"),
    "a number of tokens as text": (set_keys(max_tokens="32"), "max_tokens: Input should be a valid integer"),
    "a fraction of a token": (set_keys(max_tokens=32.5), "max_tokens: Input should be a valid integer"),
    "an unknown truncation": (set_keys(truncation={"mode": "middle"}), "truncation: Input tag 'middle' found"),
    "a truncation without a mode": (set_keys(truncation={"pooling": "max"}), "truncation: Unable to extract tag"),
    "a truncation that is a text": (set_keys(truncation="tail"), "truncation: "),
    "a null for a truncation": (set_keys(truncation=None), "truncation: "),
    "pooling without windows": (
        set_keys(truncation={"mode": "tail", "pooling": "max"}),
        r"truncation.tail.pooling: Extra inputs",
    ),
    "windows without their keys": (
        set_keys(truncation={"mode": "windows"}),
        "truncation.windows.pooling: Field required",
    ),
    "an unknown pooling": (windows(pooling="pickle"), "truncation.windows.pooling: Input should be 'mean' or 'max'"),
    "windows that never end": (windows(overlap=1), "truncation.windows.overlap: Input should be less"),
    "another truncation, unsealed": (
        lambda path: unsealed(path, truncation={"mode": "tail"}),
        "does not belong to these files, labels, max_tokens, steps and truncation",
    ),
    "windows with gaps": (windows(overlap=-0.5), "truncation.windows.overlap: Input should be greater"),
    "an overlap as text": (windows(overlap="0.5"), "truncation.windows.overlap: Input should be a valid number"),
    "thousands of windows": (windows(max_windows=10_000), "truncation.windows.max_windows: Input should be less"),
    "no window": (windows(max_windows=0), "truncation.windows.max_windows: Input should be greater"),
    "a fraction of a window": (
        windows(max_windows=1.5),
        "truncation.windows.max_windows: Input should be a valid integer",
    ),
    "an unknown key of windows": (windows(code="os.system"), "truncation.windows.code: Extra inputs"),
    "an unknown step": (set_keys(steps=["strip_tags", "os.system"]), "steps: 'os.system' is not a known cleaning step"),
    "a step twice": (set_keys(steps=["strip_tags", "strip_tags"]), "steps: the cleaning step 'strip_tags' comes twice"),
    "steps as one text": (set_keys(steps="strip_tags"), "steps: Input should be a valid"),
    "another step, unsealed": (
        lambda path: unsealed(path, steps=["strip_tags"]),
        "does not belong to these files, labels",
    ),
    "a threshold for an unknown label": (set_keys(thresholds={"furious": 0.5}), "a threshold is for an unknown label"),
    "a threshold beyond 1": (set_keys(thresholds={"neutral": 2}), "thresholds.neutral: Input should be less"),
    "an unknown precision": (variant(precision="fp8"), "variants.fp32.precision: Input should be"),
    "an unknown engine": (variant(gate={"pickle": {"passed": True}}), "variants.fp32.gate.pickle"),
    "a gate without a boolean": (variant(gate={"onnxruntime": {"passed": "yes"}}), "needs `passed`"),
    "an engine without a speed": (variant(bench={}), "needs `passed` .* `rows_per_s`"),
    "a variant with a path for a name": (
        manifest(lambda content: content["variants"].update({"../fp32": content["variants"].pop("fp32")})),
        r"variants.../fp32.\[key\]: String should match",
    ),
    "no variants": (set_keys(variants={}), "variants: .* at least 1 item"),
    "no default": (set_keys(defaults={}), "defaults has no entry for 'cpu'"),
    "an unknown default engine": (
        set_keys(defaults={"cpu": {"engine": "torch", "variant": "fp32"}}),
        "defaults.cpu.engine",
    ),
    "an unknown default": (
        set_keys(defaults={"cpu": {"engine": "openvino", "variant": "fp8"}}),
        "not a variant that passed",
    ),
    "a default that failed": (
        manifest(lambda content: [gate.update(passed=False) for gate in gates_of_default(content)]),
        "the default for 'cpu' is not a variant that passed its gate",
    ),
    "a hash that is too short": (
        entry("config.json", sha256="0" * 63),
        "files.config.json.sha256: String should match",
    ),
    "a negative size": (entry("config.json", bytes=-1), "files.config.json.bytes: Input should be greater"),
    "a larger configuration than is read": (entry("config.json", bytes=1 << 21), "config.json has 2,097,152 bytes"),
    "a larger tokenizer than is read": (entry("tokenizer.json", bytes=1 << 30), "at most 67,108,864 are read"),
    "a larger model than is read": (entry(MODEL, bytes=1 << 31), "at most 2,147,483,647 are read"),
    "more bytes than a bundle has": (manifest(lambda content: huge_models(content)), "together they have more than"),
    "another bundle's identity": (
        lambda path: unsealed(path, bundle_id="0" * 16),
        "bundle_id '0000000000000000' does not belong to these files",
    ),
    "no tokenizer": (manifest(lambda content: content["files"].pop("tokenizer.json")), "tokenizer.json is missing"),
    "a profile of another form": (
        set_keys(reference={"rows": "many"}),
        "reference: rows: Input should be a valid integer",
    ),
    "a profile of odd bins": (
        manifest(lambda content: content["reference"]["tokens"].update({"a-b": 1})),
        "reference: tokens.a-b",
    ),
}

CONFIG: Cases = {
    f"{key} in config.json": (config(**{key: value}), f"config.json: the key '{key}' is not allowed")
    for key, value in {
        "auto_map": {"AutoModel": "modeling_bert.Model"},
        "_attn_implementation": "someone/kernel",
        "_attn_implementation_internal": "someone/kernel",
        "attn_implementation": "someone/kernel",
        "trust_remote_code": True,
        "custom_pipelines": {"text-classification": {"impl": "pipeline.Pipeline"}},
        "quantization_config": {"quant_method": "bitsandbytes"},
        "torchscript": True,
        "_name_or_path": "/etc/passwd",
        "function_to_apply": "sigmoid",
        "summary_type": "first",
    }.items()
} | {
    "another model type": (config(model_type="gpt2"), "model_type is 'gpt2'; known are bert"),
    "a model type that is not a text": (config(model_type=["bert"]), r"model_type is \['bert'\]"),
    "no model type": (edited("config.json", lambda content: content.pop("model_type")), "model_type is None"),
    "another class": (config(architectures=["EvilForSequenceClassification"]), "architectures is .*Evil"),
    "another task": (config(architectures=["BertForMaskedLM"]), "architectures is"),
    "swapped labels": (edited("config.json", swap_labels), "id2label is .*positive.*negative.*, not "),
    "labels that disagree": (
        edited("config.json", lambda content: content["label2id"].update(neutral=0)),
        "label2id is",
    ),
    "an extra label": (edited("config.json", lambda content: content["id2label"].update({"3": "x"})), "id2label is"),
    "an object for a value": (config(hidden_act={"class": "os.system"}), "hidden_act is .*not a plain"),
    "a value that is a path": (config(hidden_act="someone/kernel:gelu"), "hidden_act is .*not a plain number or word"),
    "an unknown tokenizer in config.json": (config(tokenizer_class="EvilTokenizer"), "tokenizer_class is 'EvilTok"),
    "another problem type": (config(problem_type="multi_label_classification"), "problem_type is"),
    "no positions": (config(max_position_embeddings=None), "max_position_embeddings is None"),
    "a deep configuration": (config(dtype=deep(50)), "config.json is nested deeper than 32 levels"),
    "a configuration with a key twice": (written("config.json", b'{"model_type": "bert", "model_type": "a"}'), "twice"),
}

TOKENIZER: Cases = {
    f"{key} in tokenizer_config.json": (tokenizer_config(**{key: value}), f"the key '{key}' is not allowed")
    for key, value in {
        "auto_map": {"AutoTokenizer": ["tokenization.Tokenizer", None]},
        "tokenizer_file": "/etc/passwd",
        "vocab_file": "../vocab.txt",
        "name_or_path": "someone/tokenizer",
        "chat_template": "{{ ''.__class__ }}",
        "trust_remote_code": True,
    }.items()
} | {
    "an unknown tokenizer": (tokenizer_config(tokenizer_class="EvilTokenizerFast"), "tokenizer_class is 'EvilTok"),
    "a tokenizer class that is not a text": (tokenizer_config(tokenizer_class={"a": 1}), "tokenizer_class is {"),
    "an unknown special token": (
        edited("special_tokens_map.json", lambda content: content.update(code="x")),
        "the key 'code'",
    ),
    "a deep tokenizer": (tokenizer(normalizer=deep(200)), "tokenizer.json is nested deeper than 32 levels"),
    "a tokenizer that is not JSON": (written("tokenizer.json", b"\x80\x04."), "tokenizer.json is a Python pickle"),
    "an unknown part of a tokenizer": (tokenizer(code="x"), "the key 'code' is not allowed"),
    "an unknown tokenizer model": (tokenizer(model={"type": "Code", "vocab": {}}), "model is not one of WordPiece"),
    "a tokenizer without words": (tokenizer(model={"type": "WordPiece"}), "model is not one of WordPiece"),
    "ids beyond the model": (
        edited("tokenizer.json", lambda content: content["model"]["vocab"].update(x=10**6)),
        "token ids outside vocab_size",
    ),
    "an id below 0": (
        edited("tokenizer.json", lambda content: content["model"]["vocab"].update(x=-1)),
        "it has token ids",
    ),
    "a special id beyond the model": (
        edited("tokenizer.json", lambda content: content["added_tokens"][0].update(id=2**31)),
        "it has token ids",
    ),
    "a template with ids beyond the model": (
        tokenizer(post_processor={"type": "BertProcessing", "sep": ["[SEP]", 10**6], "cls": ["[CLS]", 1]}),
        "it has token ids outside vocab_size",
    ),
    "text that grows": (
        tokenizer(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}],
            }
        ),
        "its normalizer writes 'aaa",
    ),
    "a regular expression without end": (
        tokenizer(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a|a)*b"}, "behavior": "Isolated", "invert": False}
        ),
        r"its pre_tokenizer holds the regular expression '\(a\|a\)\*b', which no known family uses",
    ),
    "a regular expression among the decoders": (
        tokenizer(decoder={"type": "Replace", "pattern": {"Regex": "(a|a)*b"}, "content": ""}),
        "its decoder holds the regular expression",
    ),
    "a regular expression deep in a normalizer": (
        tokenizer(
            normalizer={
                "type": "Sequence",
                "normalizers": [
                    {
                        "type": "Sequence",
                        "normalizers": [{"type": "Replace", "pattern": {"Regex": "(.*)*x"}, "content": ""}],
                    }
                ],
            }
        ),
        "its normalizer holds the regular expression",
    ),
    "a pattern of nothing": (
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}),
        "its pre_tokenizer holds the pattern",
    ),
    "an unknown part": (tokenizer(pre_tokenizer={"type": "FixedLength", "length": 1}), "a part of type 'FixedLength'"),
    "a word that never ends": (
        edited("tokenizer.json", lambda content: content["model"].update(max_input_chars_per_word=10**9)),
        "its model divides words of 1000000000 characters",
    ),
    "a table of replacements that grow": (
        tokenizer(
            normalizer={"type": "Precompiled", "precompiled_charsmap": b64encode(bytes(4) + b"a" * 5000).decode()}
        ),
        "replaces a character by 5,000 bytes",
    ),
    "a table of replacements that is none": (
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "!"}),
        "precompiled_charsmap. that cannot be read",
    ),
    "text that grows at its start": (
        tokenizer(normalizer={"type": "Prepend", "prepend": "aa"}),
        "its normalizer writes 'aa'",
    ),
    "merges left out at random": (
        tokenizer(model={"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}),
        "its model leaves out merges at random",
    ),
    "a piece that is endless": (
        tokenizer(model={"type": "Unigram", "unk_id": 0, "vocab": [["a" * 10_000, 0.0]]}),
        "its model has the piece",
    ),
}
