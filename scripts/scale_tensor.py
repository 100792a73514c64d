#!/usr/bin/env python3
"""Multiplies one F16 tensor of a safetensors file by a factor, in place: a fault for 'verify' to find."""

import json
import struct
import sys


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit("usage: scale_tensor.py FILE TENSOR FACTOR")
    path, name, factor = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        if name not in header or header[name]["dtype"] != "F16":
            sys.exit(f"{path}: no F16 tensor is called {name}")
        begin, end = header[name]["data_offsets"]
        file.seek(8 + length + begin)
        count = (end - begin) // 2
        values = struct.unpack(f"<{count}e", file.read(end - begin))
        file.seek(8 + length + begin)
        file.write(struct.pack(f"<{count}e", *(value * factor for value in values)))
    print(f"{name}: {count} values × {factor}")


if __name__ == "__main__":
    main()
