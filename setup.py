"""Build the one extension; everything that is not building stands in pyproject.toml.

Two environment variables, set to 1, build for a purpose: FASTHTTPSERVER_SANITIZE with
the address and undefined-behaviour sanitizers, FASTHTTPSERVER_COVERAGE with line tracing.
"""

import os
import runpy
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("FASTHTTPSERVER_SANITIZE") == "1"
COVERAGE = os.environ.get("FASTHTTPSERVER_COVERAGE") == "1"

# First of all, since the licences that the metadata lists come with llhttp's sources.
if runpy.run_path("vendor/llhttp/fetch.py")["main"]([]):
    sys.exit(1)


class BuildParser(build_ext):
    """Cython's build_ext (setuptools takes it when Cython is there) with our options."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # Generated C stays under build/, but the coverage plugin looks for it beside the source.
        self.cython_c_in_temp = not COVERAGE
        self.cython_directives = {"linetrace": COVERAGE}
        # A switch changes no file, so nothing would look out of date.
        self.force = self.force or SANITIZE or COVERAGE

    def build_extensions(self) -> None:
        if self.compiler.compiler_type != "msvc":  # which does well with its defaults
            (parser,) = self.extensions
            # Hidden: llhttp's calls stay direct, and apart from another extension's llhttp.
            parser.extra_compile_args = ["-O3", "-fvisibility=hidden"]
            # Or the time of long heads depends on where the linker puts llhttp.
            parser.extra_compile_args += ["-falign-loops=32"]
            # llhttp reads byte by byte. `make bench-parser` shows what both flags give; SSE4.2
            # was found to give no more beside this one, and needs a choice at run time.
            parser.extra_compile_args += ["-funroll-loops"]
            # llhttp's generated functions leave most of their parameters unused.
            parser.extra_compile_args += ["-Wall", "-Wextra", "-Wno-unused-parameter"]
            # Python's own flags ask for debug information: four fifths of a wheel.
            parser.extra_compile_args += ["-g0"]
            if SANITIZE:
                parser.extra_compile_args += ["-O1", "-g", "-fsanitize=address,undefined"]
                parser.extra_link_args = ["-fsanitize=address,undefined"]
        super().build_extensions()


LLHTTP_SOURCES = [f"vendor/llhttp/src/{name}.c" for name in ("api", "http", "llhttp")]
PARSER = Extension(
    "fasthttpserver._parser",
    sources=["src/fasthttpserver/_parser.pyx", *LLHTTP_SOURCES],
    include_dirs=["vendor/llhttp/include"],
    depends=["vendor/llhttp/include/llhttp.h", *glob("src/fasthttpserver/_parsing/*.pxd")],
)
if COVERAGE:
    PARSER.define_macros = [
        ("CYTHON_TRACE", "1"),
        ("CYTHON_TRACE_NOGIL", "1"),
        ("CYTHON_USE_SYS_MONITORING", "0"),  # which the coverage plugin does not understand
    ]

setup(ext_modules=[PARSER], cmdclass={"build_ext": BuildParser})
