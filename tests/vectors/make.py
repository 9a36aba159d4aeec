"""Writes online_format.json anew from the second implementation: `python -m tests.vectors.make`, only for additions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vectors import independent as own

NOW = 1_800_000_000_000_000
FILE = Path(__file__).with_name("online_format.json")
ABOUT = (
    "Test vectors of recsvc/online/FORMAT.md. 64-bit numbers are decimal text; floats are the hexadecimal digits of"
    " their IEEE 754 bits, most significant first; rows are hexadecimal; null is null."
)
USER, ITEM, SHOP = ("user", None), ("item", 32), ("shop", 1_024)
KEYS: list[tuple[list[tuple[str, int | None]], list[str], str, int]] = [
    ([USER], ["196"], "profile", 1),
    ([USER], ["-9223372036854775808"], "profile", 999_999_999),
    ([USER], ["a b:c%d"], "profile", 2),
    ([USER], ["{x}*?[y]\\^\"'~"], "profile", 1),
    ([USER], ["~11"], "profile", 1),
    ([USER], ["\x00\x1f \x7f"], "profile", 1),
    ([USER], ["Zoë/日本/\U0001f600"], "profile", 1),
    ([ITEM], ["i1"], "stats", 2),
    ([ITEM], ["é:1"], "stats", 1),
    ([SHOP], ["123456789"], "sales", 1),
    ([USER, ITEM], ["196", "i1"], "rated", 1),
    ([USER, ITEM], ["a:b", "c"], "rated", 1),
    ([USER, ITEM], ["a", "b:c"], "rated", 1),
    ([ITEM, USER], ["i1", "196"], "fans", 1),
    ([USER, ITEM, SHOP], ["1", "2", "3"], "trio", 1),
]
BUCKETS = ["i1", "a", "123456789", "é", "日本", "\U0001f600", "x" * 512]
EVERY: list[own.Feature] = [
    ("int64", "INT64"),
    ("float64", "FLOAT64"),
    ("float32", "FLOAT32"),
    ("bool", "BOOL"),
    ("string", "STRING"),
    ("timestamp", "TIMESTAMP"),
    ("vector", "VECTOR[2]"),
    ("int64_list", "INT64_LIST"),
    ("string_list", "STRING_LIST"),
]
LOWEST, HIGHEST = str(-(2**63)), str(2**63 - 1)
PLAIN = [
    *("-7", "4009000000000000", "3f000000", True, "Zoë", str(NOW), ["3f800000", "c0000000"]),
    *(["1", "-1"], ["", "a", "\U0001f600"]),
]
LARGE = [
    *(HIGHEST, "7fefffffffffffff", "7f7fffff", False, "", str(-(2**63) + 1), ["7fc00001", "00000001"]),
    *([LOWEST, HIGHEST], []),
]
NAN = [LOWEST, "7ff0000000000001", "ff800001", True, "\x00", HIGHEST, ["80000000", "7f800000"], [], [""]]
NUMBERS = EVERY[:2]
ROWS: list[tuple[str, list[own.Feature], int, int, list[Any]]] = [
    ("a number", EVERY[:1], NOW, NOW + 1, ["42"]),
    ("no features", [], NOW, NOW, []),
    ("only nulls", EVERY, NOW, NOW, [None] * 9),
    ("a value of each type", EVERY, NOW, NOW, PLAIN),
    ("large and empty values, NaN with a payload, a denormal", EVERY, -(2**63) + 1, 2**63 - 1, LARGE),
    ("signalling NaN, -0, infinity, NUL, an empty string in a list", EVERY, -1, 0, NAN),
    ("nulls between values", EVERY, NOW, NOW, [v if i % 2 else None for i, v in enumerate(PLAIN)]),
    ("eight features fill a byte of the bitmap", [(f"b{i}", "BOOL") for i in range(8)], NOW, NOW, [True] * 8),
    ("nine begin another", [(f"b{i}", "BOOL") for i in range(9)], NOW, NOW, [None] * 8 + [True]),
]
CORRUPT: list[tuple[str, list[own.Feature], bytes]] = [
    ("no bytes", NUMBERS, b""),
    ("cut in the header", NUMBERS, own.encode(NUMBERS, NOW, NOW, ["1", None])[:23]),
    ("cut in the fixed part", NUMBERS, own.encode(NUMBERS, NOW, NOW, ["1", None])[:-1]),
    ("a byte too many", NUMBERS, own.encode(NUMBERS, NOW, NOW, ["1", None]) + b"\0"),
    ("a newer format", NUMBERS, b"\x02" + own.encode(NUMBERS, NOW, NOW, ["1", None])[1:]),
    ("an unknown flag", NUMBERS, b"\x01\x02" + own.encode(NUMBERS, NOW, NOW, ["1", None])[2:]),
    ("another schema", NUMBERS, own.encode([("int64", "TIMESTAMP"), NUMBERS[1]], NOW, NOW, ["1", None])),
    ("a tombstone with a byte more", NUMBERS, own.tombstone(NOW, NOW) + b"\0"),
    ("not UTF-8", EVERY[4:5], own.encode(EVERY[4:5], NOW, NOW, ["\x7f"])[:-1] + b"\xff"),
    ("a string past the end", EVERY[4:5], own.encode(EVERY[4:5], NOW, NOW, ["abc"])[:-1]),
    ("half an integer in a list", EVERY[7:8], own.encode([("int64_list", "INT64_LIST")], NOW, NOW, [["1"]])[:-1]),
]
LATER = own.encode(EVERY[:1], NOW + 1, NOW, ["1"])
TIED = sorted([own.encode(EVERY[:1], NOW, NOW, [v]) for v in "12"], key=own.sha1)
ORDER: list[tuple[str, bytes, bytes]] = [
    ("equal times, the greater SHA-1", TIED[0], TIED[1]),
    ("a later event time", own.encode(EVERY[:1], NOW, NOW, ["1"]), LATER),
    ("one microsecond beyond 2^53", own.encode(EVERY[:1], 2**53, 5, ["1"]), own.encode(EVERY[:1], 2**53 + 1, 0, ["2"])),
    ("over a boundary of 32 bits", own.encode(EVERY[:1], 2**32 - 1, 5, ["1"]), own.encode(EVERY[:1], 2**32, 0, ["2"])),
    ("from before to after 1970", own.encode(EVERY[:1], -1, 5, ["1"]), own.encode(EVERY[:1], 0, 0, ["2"])),
    ("less long before 1970", own.encode(EVERY[:1], -(2**40), 5, ["1"]), own.encode(EVERY[:1], 1 - 2**40, 0, ["2"])),
    ("a later write", own.encode(EVERY[:1], NOW, NOW, ["2"]), own.encode(EVERY[:1], NOW, NOW + 1, ["1"])),
    ("a later tombstone", own.encode(EVERY[:1], NOW, NOW, ["1"]), own.tombstone(NOW + 1, NOW)),
    ("a later row after a tombstone", own.tombstone(NOW, NOW), LATER),
]


def document() -> dict[str, Any]:
    """Return all vectors."""
    return {
        "about": ABOUT,
        "keys": [
            {
                "entities": [{"name": name, "spread": spread} for name, spread in entities],
                "ids": ids,
                "view": view,
                "version": version,
                "key": own.key(entities, ids, view, version).decode(),
                "slot": own.slot(own.key(entities, ids, view, version)),
            }
            for entities, ids, view, version in KEYS
        ],
        "buckets": [
            {"id": text, "crc32": own.crc32(text.encode()), "bucket_of_32": own.crc32(text.encode()) % 32}
            for text in BUCKETS
        ],
        "schemas": [
            {
                "features": [list(f) for f in EVERY],
                "fingerprints": [f"{own.fingerprint(EVERY[:n]):08x}" for n in range(len(EVERY) + 1)],
            }
        ],
        "rows": [
            {
                "what": what,
                "features": [list(f) for f in features],
                "event_time_us": str(event),
                "write_time_us": str(write),
                "values": values,
                "row": own.encode(features, event, write, values).hex(),
            }
            for what, features, event, write, values in ROWS
        ],
        "tombstones": [
            {"event_time_us": str(e), "write_time_us": str(w), "row": own.tombstone(e, w).hex()}
            for e, w in ((NOW, NOW + 1), (-1, 0))
        ],
        "corrupt": [
            {"what": what, "features": [list(f) for f in features], "row": row.hex()} for what, features, row in CORRUPT
        ],
        "order": [{"what": what, "held_back": a.hex(), "stays": b.hex()} for what, a, b in ORDER],
        "schema_record": {"key": "fs:schema:profile:v2", "value": json.dumps([f"{n}:{t}" for n, t in EVERY[:2]])},
        "change": {
            "stream": "fs:changes:profile",
            "key": "fs:{196}:user:profile:v2",
            "version": "2",
            "event_time_us": str(NOW),
        },
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
