# SPDX-License-Identifier: Apache-2.0
# The tables of r3-protocol(7) against the code that they describe:  r3_tables.py ROOT
import errno
import os
import re
import sys

os.chdir(sys.argv[1])
page = open("man/r3-protocol.7").read()
frame = re.sub(r"//.*", "", open("libcommon/net/r3_frame.hpp").read())
errors = open("libcommon/net/r3_errors.hpp").read()


def said(name, number):
    """Name and number of all rows of the tables that begin with these two words."""
    tables = re.findall(rf"^\.It Sy {name} Ta Sy {number}.*?^\.El", page, re.S | re.M)
    return {row: int(value, 0) for table in tables
            for row, value in re.findall(r"^\.It ([A-Z]+) Ta (\w+)", table, re.M)}


def done(what, prefix=""):
    """The members of an enumeration."""
    value, found = 0, {}
    for name, given in re.findall(r"(\w+)(?: = (\w+))?\s*,", re.search(what + r".*?\{(.*?)\}", frame, re.S)[1] + ","):
        value = int(given, 0) if given else value + 1
        found[name.removeprefix(prefix).upper()] = value
    return found


def same(what, page_says, code_says):
    assert page_says and page_says == code_says, f"{what}: page {page_says}, code {code_says}"


same("errors", said("name", "number"), {name: getattr(errno, name) for name in re.findall(r"\bE[A-Z]{2,}\b", errors)
                                        if name != "ERRORS"})
same("types", said("name", "type"), done("enum class Type"))
same("flags", said("flag", "value"), done("enum Flag", "k"))
features = re.search(r"^Features:(.*?)\(", page, re.S | re.M)[1].replace("\n", " ")
same("features", {name.upper(): int(bit) for bit, name in re.findall(r"(\d+) (?:the )?(\w+)", features)},
     done("enum Feature", "kFeature"))
