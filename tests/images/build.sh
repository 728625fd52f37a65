#!/bin/sh
# Builds stand-ins for the official images, for machines that reach no registry:
#
#   labkit-test/python      for python:3.12-slim   Debian's Python, and like the slim one no wget
#   labkit-test/zookeeper   for zookeeper:3.9      Debian's ZooKeeper behind the official contract
#   labkit-test/client      for alpine             a throw-away client with wget
#
# Needs root, debootstrap and an engine. An image that exists is not built again. Use them with:
#
#   eval "$(tests/images/build.sh)"
set -eu

cd "$(dirname "$0")"
SUITE=${SUITE:-bookworm}

exists() { docker image inspect "$1" >/dev/null 2>&1; }

exists labkit-test/python || docker tag "$(./bare.sh "$SUITE")" labkit-test/python
exists labkit-test/zookeeper || docker build -t labkit-test/zookeeper zookeeper >&2
exists labkit-test/client || docker build -t labkit-test/client - >&2 <<'DOCKERFILE'
FROM labkit-test/python
RUN apt-get update && apt-get install -y --no-install-recommends wget && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
CMD ["sh"]
DOCKERFILE

echo export LABKIT_PYTHON_IMAGE=labkit-test/python
echo export LABKIT_ZOOKEEPER_IMAGE=labkit-test/zookeeper
echo export LABKIT_CLIENT_IMAGE=labkit-test/client
