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
#
# They are of Debian 12 (Python 3.11, ZooKeeper 3.8.0), or of Debian 13 (3.13, 3.9.3) with
# SUITE=trixie, which is then their tag.
set -eu

cd "$(dirname "$0")"
case ${SUITE:=bookworm} in
bookworm) tag= zookeeper=3.8.0 ;;
trixie) tag=:trixie zookeeper=3.9.3 ;;
*) echo "SUITE is $SUITE; bookworm and trixie are known" >&2 && exit 2 ;;
esac

exists() { docker image inspect "$1" >/dev/null 2>&1; }

exists "labkit-test/python$tag" || docker tag "$(./bare.sh "$SUITE")" "labkit-test/python$tag"
exists "labkit-test/zookeeper$tag" || docker build -t "labkit-test/zookeeper$tag" \
    --build-arg "TAG=$tag" --build-arg "ZOOKEEPER_VERSION=$zookeeper" zookeeper >&2
exists "labkit-test/client$tag" || docker build -t "labkit-test/client$tag" \
    --build-arg "TAG=$tag" - >&2 <<'DOCKERFILE'
ARG TAG
FROM labkit-test/python$TAG
RUN apt-get update && apt-get install -y --no-install-recommends wget && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
CMD ["sh"]
DOCKERFILE

echo "export LABKIT_PYTHON_IMAGE=labkit-test/python$tag"
echo "export LABKIT_ZOOKEEPER_IMAGE=labkit-test/zookeeper$tag"
echo "export LABKIT_CLIENT_IMAGE=labkit-test/client$tag"
