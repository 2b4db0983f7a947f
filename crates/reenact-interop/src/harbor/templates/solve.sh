#!/bin/sh
# The original's own source, which compile.sh builds.
set -eu
tar -C /workspace --no-same-owner -xzf "$(dirname "$0")/source.tar.gz"
