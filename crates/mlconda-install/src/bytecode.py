# Compiles modules for mlconda, in the environment's own python: arguments are the directory that holds them, the
# prefix in which they will be, and how python is to see that a module has changed.
#
# Each line of stdin is a module: its time of last change, a space, its path. The answer on stdout is the length of
# a .pyc file and the file itself, or 0 and the reason why there is none. Nothing is written to disk here.
import marshal
import sys
from importlib import util


def hold(value, found):
    """Refers to all that a code object holds.

    Before 3.11, marshal writes a string differently if anything else in the process refers to an equal one, and so
    would depend on what was compiled before. With one more reference to each, it writes all in one way.
    """
    found.append(value)
    if isinstance(value, (tuple, frozenset)):
        for part in value:
            hold(part, found)
    elif isinstance(value, type(hold.__code__)):
        names = value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
        hold((value.co_name, value.co_filename, value.co_consts) + names, found)


def header(source, modified):
    number = lambda value: (value & 0xFFFFFFFF).to_bytes(4, "little")
    if sys.version_info < (3, 7):
        return util.MAGIC_NUMBER + number(modified) + number(len(source))
    if mode == "timestamp":
        return util.MAGIC_NUMBER + number(0) + number(modified) + number(len(source))
    return util.MAGIC_NUMBER + number(3 if mode == "checked-hash" else 1) + util.source_hash(source)


def compiled(modified, path):
    with open(root + b"/" + path, "rb") as file:
        source = file.read()
    name = (prefix + b"/" + path).decode("utf-8", "surrogateescape")
    code = compile(source, name, "exec", dont_inherit=True)
    held = []
    if sys.version_info < (3, 11):
        hold(code, held)
    return header(source, modified) + marshal.dumps(code)


root, prefix = (argument.encode("utf-8", "surrogateescape") for argument in sys.argv[1:3])
mode = sys.argv[3]
answers = sys.stdout.buffer
answers.write(sys.implementation.cache_tag.encode() + b"\n")
answers.flush()
for line in sys.stdin.buffer:
    modified, path = line.rstrip(b"\n").split(b" ", 1)
    try:
        answer = compiled(int(modified), path)
        answers.write(b"%d\n" % len(answer) + answer)
    except Exception as error:
        reason = "%s: %s" % (type(error).__name__, error)
        answers.write(b"0\n" + reason.replace("\n", " ").encode("utf-8", "replace") + b"\n")
    answers.flush()
